"""residuals.npz: the factors have the closed form of a normal distribution; what does not fit is refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from models_store.errors import BundleRefused
from models_store.members import Members
from models_store.residuals import Cells, Factors, Residuals, has_residuals, standardised
from tests.models_store.examples import NumpyArray, array, category, manifest

RNG = np.random.default_rng(0)
SIZES = {"left": 3, "right": 2}
CELLS = {
    name: Cells(RNG.normal(size=size), RNG.normal(size=(size, 2)), RNG.uniform(0.5, 1, size))
    for name, size in SIZES.items()
}
RESIDUALS = Residuals(CELLS)
DESCRIBED = manifest(
    modalities=[array("vector", size).model_copy(update={"name": name}) for name, size in SIZES.items()]
)
MEAN = np.concatenate([cells.mean for cells in CELLS.values()])
LOADINGS = np.concatenate([cells.loadings for cells in CELLS.values()])
COVARIANCE = LOADINGS @ LOADINGS.T + np.diag(np.concatenate([cells.scale for cells in CELLS.values()]) ** 2)


def parameters(size: int, draws: int = 1) -> dict[str, NumpyArray]:
    return {"loc": np.full((1, draws, size), 2.0), "log_scale": np.full((1, draws, size), np.log(3.0))}


def at(n: int, draws: int, members: int = 1) -> NumpyArray:
    """Draws of z of which each is of another member, in turn."""
    u = np.resize(Members(1, [1 / members] * members).centres, draws)
    return np.broadcast_to(u[None, :, None], (n, draws, 1))


@pytest.mark.parametrize("seen", [[0, 1, 2], [0, 2, 3], [4], []])
def test_cells_have_the_conditional_mean_and_spread_of_the_normal_distribution(seen: list[int]) -> None:
    r = np.full(5, np.nan)
    r[seen] = RNG.normal(size=len(seen))
    given = {"left": r[None, None, :3], "right": r[None, None, 3:]}
    factors = RESIDUALS.factors(given, at(1, 1))
    hidden = np.setdiff1d(np.arange(5), seen)
    of_seen = COVARIANCE[:, np.array(seen, int)]
    slope = of_seen[hidden] @ np.linalg.inv(of_seen[np.array(seen, int)])
    mean = MEAN[hidden] + slope @ (r[seen] - MEAN[seen])
    left_over = COVARIANCE[np.ix_(hidden, hidden)] - slope @ of_seen[hidden].T
    of_both = [RESIDUALS.applied(name, parameters(size), factors) for name, size in SIZES.items()]
    loc, log_scale = (
        np.concatenate([of_one[key][0, 0] for of_one in of_both])[hidden] for key in ("loc", "log_scale")
    )
    np.testing.assert_allclose(loc, 2 + 3 * mean, atol=1e-9)
    np.testing.assert_allclose(np.exp(log_scale), 3 * np.sqrt(np.diag(left_over)), atol=1e-9)


def test_draws_have_the_covariance_of_the_normal_distribution() -> None:
    draws = 200_000
    factors = RESIDUALS.factors({"left": np.zeros((1, draws, 3))}, at(1, draws))
    drawn = factors.drawn(RNG.normal(size=(1, draws, 2)))
    cells = RESIDUALS.applied("right", parameters(2, draws), drawn)
    x = cells["loc"][0] + np.exp(cells["log_scale"][0]) * RNG.normal(size=(draws, 2))
    slope = COVARIANCE[3:, :3] @ np.linalg.inv(COVARIANCE[:3, :3])
    np.testing.assert_allclose(np.cov(x.T) / 9, COVARIANCE[3:, 3:] - slope @ COVARIANCE[:3, 3:], atol=0.02)
    np.testing.assert_allclose(x.mean(axis=0), 2 + 3 * (MEAN[3:] - slope @ MEAN[:3]), atol=0.02)


def test_without_factors_cells_stay_independent() -> None:
    alone = Residuals({"left": Cells(np.zeros(3), np.zeros((3, 0)), np.full(3, 2.0))})
    factors = alone.factors({}, at(1, 4))
    cells = alone.applied("left", parameters(3, 4), factors.drawn(np.zeros((1, 4, 0))))
    np.testing.assert_allclose(cells["loc"], 2.0)
    np.testing.assert_allclose(cells["log_scale"], np.log(6.0))
    untouched = parameters(2)
    assert alone.applied("right", untouched, factors) is untouched


def test_residuals_are_standardised_on_the_scale_of_the_likelihood() -> None:
    logs = array("vector", 2).with_changes({"likelihood": "log_normal"})
    at = {"loc": np.zeros((1, 1, 2)), "log_scale": np.full((1, 1, 2), np.log(2.0))}
    r = standardised(logs, np.array([[np.exp(4.0), np.nan]]), at)
    np.testing.assert_allclose(r, [[[2.0, np.nan]]])
    assert has_residuals(logs)
    assert not has_residuals(category("a", "b"))


def test_what_was_written_is_read() -> None:
    read = Residuals.from_bytes(RESIDUALS.to_bytes(), DESCRIBED)
    assert read.rank == 2
    for name, cells in CELLS.items():
        for written, back in zip(cells, read.cells[name], strict=True):
            np.testing.assert_allclose(back, written, rtol=1e-6)


def test_members_without_residuals_keep_their_parameters() -> None:
    ensemble = manifest(modalities=DESCRIBED.modalities, members=3, latent_dim=7)
    some = Residuals(CELLS, np.array([True, False, True]), ensemble.mixture)
    read = Residuals.from_bytes(some.to_bytes(), ensemble)
    given = {"left": RNG.normal(size=(1, 6, 3))}
    given["left"][:] = given["left"][:, :1]
    every = RESIDUALS.applied("right", parameters(2, 6), RESIDUALS.factors(given, at(1, 6)))
    factors = read.factors(given, at(1, 6, 3))
    for key, value in read.applied("right", parameters(2, 6), factors).items():
        with_residuals = np.arange(6) % 3 != 1
        np.testing.assert_allclose(value[:, with_residuals], every[key][:, with_residuals], atol=1e-6)
        np.testing.assert_allclose(value[:, ~with_residuals], parameters(2, 6)[key][:, ~with_residuals])
    with pytest.raises(BundleRefused, match="'members' must say of each of 1 members true or false"):
        Residuals.from_bytes(some.to_bytes(), DESCRIBED)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "shape": ({"mean/left": np.zeros(2)}, r"'mean/left' must have the shape \(3,\)"),
    "ranks": ({"loadings/left": np.zeros((3, 1))}, "all loadings must have the shape"),
    "number": ({"mean/right": np.full(2, np.nan)}, "'mean/right' must hold finite numbers"),
    "scale": ({"scale/right": np.zeros(2)}, "'scale/right' must be above 0"),
    "modality": ({"loadings/other": np.zeros((3, 2))}, "'other', but the model has no such vector"),
    "entry": ({"weights": np.zeros(2)}, "'weights' is no entry of a modality"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str) -> None:
    changes, message = REFUSED[case]
    with np.load(io.BytesIO(RESIDUALS.to_bytes())) as archive:
        arrays = {key: archive[key] for key in archive.files}
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **{**arrays, **changes})
    with pytest.raises(BundleRefused, match=message):
        Residuals.from_bytes(stream.getvalue(), DESCRIBED)


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(BundleRefused, match=r"residuals\.npz is no archive"):
        Residuals.from_bytes(b"nothing", DESCRIBED)


def test_the_rows_of_factors_are_their_own() -> None:
    given = np.stack([np.zeros((2, 3)), np.ones((2, 3))])
    both = RESIDUALS.factors({"left": given}, at(2, 2))
    for row in range(2):
        one = RESIDUALS.factors({"left": given[row : row + 1]}, at(1, 2))
        np.testing.assert_allclose(one.mean, both.mean[row : row + 1])
    assert isinstance(both, Factors)
