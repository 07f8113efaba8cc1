"""Draws of whole rows: with factors of the residuals, they have the exact conditional distribution.

The decoders are constant in z, so that the factors hold all correlation; the covariance has a closed form.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from models_store.manifest import decoder_file, encoder_file
from models_store.residuals import Cells, Residuals
from service.engine.batching import Receiver
from service.engine.model import Generated, Model
from service.engine.observations import Column, Observations
from service.engine.rules import Limits
from tests.models_store.examples import NumpyArray, array, manifest

SIZES = {"left": 2, "right": 3}
LOADINGS = np.array([[1.0, 0.5], [-0.8, 0.3], [0.7, 0.9], [0.2, -1.1], [0.0, 0.0]])
MEAN, SCALE = np.arange(5) / 2, np.array([0.5, 0.7, 0.6, 0.4, 1.0])
COVARIANCE = LOADINGS @ LOADINGS.T + np.diag(SCALE**2)
RESIDUALS = Residuals(
    {"left": Cells(MEAN[:2], LOADINGS[:2], SCALE[:2]), "right": Cells(MEAN[2:], LOADINGS[2:], SCALE[2:])}
)
DRAWS = 20_000
X = np.array([[1.5, np.nan], [0.2, -1.0]], np.float32)


class Prior:
    """An expert that says nothing."""

    def submit(self, rows: NumpyArray, receiver: Receiver) -> None:
        mu = np.zeros((len(rows), 2), np.float32)
        receiver.set_result({"mu": mu, "log_var": np.full_like(mu, 20.0)})


class Centre:
    """x ~ N(10, 2²) for every z."""

    def __init__(self, size: int) -> None:
        self._size = size

    async def run(self, z: NumpyArray) -> dict[str, NumpyArray]:
        loc = np.full((len(z), self._size), 10, np.float32)
        return {"loc": loc, "log_scale": np.full_like(loc, np.log(2))}


def generated(condition: str = "left", residuals: Residuals | None = RESIDUALS, **options: Any) -> Generated:
    modalities = [array("vector", size).model_copy(update={"name": name}) for name, size in SIZES.items()]
    graphs: dict[str, Any] = {encoder_file(name): Prior() for name in SIZES}
    graphs |= {decoder_file(name): Centre(size) for name, size in SIZES.items()}
    described = manifest(latent_dim=2, modalities=modalities)
    limits = Limits(rows=1000, draws=100_000, numbers=10**9)
    model = Model(described, graphs, limits, residuals=residuals)
    rows = Observations({} if condition == "none" else {"left": Column(10 + 2 * X)}, 2)
    settings = {"draws": DRAWS, "summary_draws": 100, "seed": 1, "noise": True, **options}
    return asyncio.run(model.generate(rows, [condition], ["all"], **settings))


def conditional(row: int) -> tuple[NumpyArray, NumpyArray]:
    """Mean and covariance of all five cells of a row given its observed cells."""
    seen = np.flatnonzero(~np.isnan(X[row]))
    slope = COVARIANCE[:, seen] @ np.linalg.inv(COVARIANCE[np.ix_(seen, seen)])
    return MEAN + slope @ (X[row, seen] - MEAN[seen]), COVARIANCE - slope @ COVARIANCE[seen]


@pytest.mark.parametrize("row", [0, 1])
def test_draws_of_missing_cells_are_exact_and_joint(row: int) -> None:
    targets = generated().targets
    mean, covariance = conditional(row)
    hidden = [*(np.flatnonzero(np.isnan(X[row]))), 2, 3, 4]
    drawn = np.concatenate([targets[name]["samples"][row] for name in SIZES], axis=1)[:, hidden]
    np.testing.assert_allclose(drawn.mean(axis=0), 10 + 2 * mean[hidden], atol=0.08)
    np.testing.assert_allclose(np.cov(drawn.T) / 4, covariance[np.ix_(hidden, hidden)], atol=0.06)
    np.testing.assert_allclose(targets["right"]["mean"][row], 10 + 2 * mean[2:], rtol=1e-5)
    std = 2 * np.sqrt(np.diag(covariance))[2:]
    np.testing.assert_allclose(targets["right"]["std"][row], std, rtol=1e-4)


def test_draws_from_the_prior_have_the_covariance_of_the_rows() -> None:
    targets = generated("none").targets
    drawn = np.concatenate([targets[name]["samples"][0] for name in SIZES], axis=1)
    np.testing.assert_allclose(np.cov(drawn.T) / 4, COVARIANCE, atol=0.08)


def test_means_of_the_posterior_have_no_noise() -> None:
    answer = generated(return_mean=True, noise=False, draws=2).targets["right"]
    for row in range(2):
        np.testing.assert_allclose(answer["samples"][row], np.tile(10 + 2 * conditional(row)[0][2:], (2, 1)))


def test_the_first_draws_do_not_depend_on_their_number() -> None:
    few, many = (generated(draws=draws).targets["right"]["samples"] for draws in (3, 200))
    assert few.shape == (2, 3, 3)
    np.testing.assert_allclose(few[:, :1], many[:, :1], rtol=1e-5)


def test_without_the_file_cells_are_independent() -> None:
    drawn = generated(residuals=None).targets["right"]["samples"][0]
    np.testing.assert_allclose(np.cov(drawn.T) / 4, np.eye(3), atol=0.05)
