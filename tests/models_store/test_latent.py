"""latent.npz: what it says comes back, and what does not fit the model is refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from models_store.errors import BundleRefused
from models_store.latent import Latent, Map, Mixture
from tests.models_store.examples import NumpyArray, manifest


def latent(**changes: Any) -> Latent:
    fields: dict[str, Any] = {
        "weights": np.array([0.25, 0.75]),
        "means": np.array([[0.0, 0, 0, 0], [5, 5, 5, 5]]),
        "factors": np.stack([np.eye(4), 0.5 * np.tril(np.ones((4, 4)))]),
        "axes": np.eye(4)[:2],
        "centre": np.ones(4),
        "points": np.zeros((3, 2)),
        "labels": {"label": np.array([0, 2, -1])},
    }
    given = {**fields, **changes}
    mixture = Mixture(given["weights"], given["means"], given["factors"])
    return Latent(mixture, Map(given["axes"], given["centre"], given["points"], given["labels"]))


def test_what_was_written_is_read() -> None:
    read = Latent.from_bytes(latent().to_bytes(), manifest())
    np.testing.assert_array_equal(read.mixture.factors, latent().mixture.factors)
    np.testing.assert_array_equal(read.map.labels["label"], [0, 2, -1])
    np.testing.assert_array_equal(read.map.project(np.array([[1.0, 2, 3, 4]])), [[0, 1]])


def test_draws_have_the_moments_of_the_mixture() -> None:
    rng = np.random.default_rng(0)
    z = latent().mixture.sample(rng.random(40_000), rng.standard_normal((40_000, 4)))
    near = z.mean(axis=1) < 2.5
    assert near.mean() == pytest.approx(0.25, abs=0.01)
    factor = latent().mixture.factors[1]
    np.testing.assert_allclose(np.cov(z[~near].T), factor @ factor.T, atol=0.06)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "shape": ({"means": np.zeros((2, 3))}, r"'means' has the shape \(2, 3\), not \(2, 4\)"),
    "many": ({"points": np.zeros((100_001, 2))}, "'points' has 100001 rows, and may have 100000"),
    "number": ({"centre": np.full(4, np.nan)}, "'centre' must hold finite numbers"),
    "shares": ({"weights": np.array([0.5, 0.1])}, "'weights' must be shares of 1"),
    "category": ({"labels": {"vector": np.zeros(3, int)}}, "the model has no such category"),
    "index": (
        {"labels": {"label": np.array([0, 1, 3])}},
        "'labels.label' must hold indices of labels, or -1",
    ),
    "rows": ({"labels": {"label": np.zeros(2, int)}}, r"'labels.label' has the shape \(2,\), not \(3,\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_the_model_is_refused(case: str) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(BundleRefused, match=message):
        Latent.from_bytes(latent(**changes).to_bytes(), manifest())


def test_what_is_no_archive_or_lacks_something_is_refused() -> None:
    with pytest.raises(BundleRefused, match=r"latent\.npz is no archive of arrays"):
        Latent.from_bytes(b"PK\x03\x04", manifest())
    stream = io.BytesIO()
    nothing: NumpyArray = np.zeros(0)
    np.savez(stream, weights=nothing)
    with pytest.raises(BundleRefused, match="'means' is missing"):
        Latent.from_bytes(stream.getvalue(), manifest())
