"""The Fisher information of each family is the expected square of its score."""

from __future__ import annotations

import numpy as np
import pytest

from models_store.likelihoods import likelihood
from tests.models_store.examples import NumpyArray
from tests.models_store.test_likelihoods import ELEMENTWISE, parameters_of


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_information_is_the_expected_square_of_the_score(name: str) -> None:
    """From 100,000 draws of x, with the derivatives of log p(x) along two directions by differences."""
    family, rng, parameters = likelihood(name), np.random.default_rng(0), parameters_of(name)
    tangents = {key: rng.standard_normal((2, *value.shape)) for key, value in parameters.items()}
    for key in ("log_df", "log_total_count", "zero_logit"):  # their information is left out
        if key in tangents:
            tangents[key] = np.zeros_like(tangents[key])
    many = {key: np.broadcast_to(value, (100_000, *value.shape)) for key, value in parameters.items()}
    x = family.sample(many, rng)
    step = 1e-4

    def at(direction: int, distance: float) -> NumpyArray:
        moved = {key: value + distance * tangents[key][direction] for key, value in many.items()}
        return np.asarray(family.row_log_prob(x, moved))

    slopes = [(at(direction, step) - at(direction, -step)) / (2 * step) for direction in range(2)]
    expected = np.cov(slopes)
    actual = family.information(x[0], parameters, tangents)
    np.testing.assert_allclose(actual, expected, rtol=0.05, atol=0.03 * np.diag(expected).max())


def test_a_missing_cell_has_no_information() -> None:
    family, tangents = likelihood("normal"), {"loc": np.ones((1, 2)), "log_scale": np.zeros((1, 2))}
    parameters = {"loc": np.zeros(2), "log_scale": np.log([0.5, 0.25])}
    assert family.information(np.zeros(2), parameters, tangents).item() == pytest.approx(4 + 16)
    assert family.information(np.array([0.0, np.nan]), parameters, tangents).item() == pytest.approx(4)
