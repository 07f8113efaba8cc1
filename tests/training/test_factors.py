"""Factor analysis of rows with missing cells."""

from __future__ import annotations

import math

import numpy as np

from tests.training.factors import drawn, known_factors
from training.factors import FactorModel, fit_factors, perturbed


def test_shrinkage_is_to_add_rows_of_independent_cells() -> None:
    rng = np.random.default_rng(0)
    n, p = 40, 5
    x = rng.standard_normal((n, 2)) @ rng.standard_normal((2, p)) + rng.standard_normal((n, p))
    x -= x.mean(axis=0)
    deviation = x.std(axis=0)
    alone = np.diag(deviation) * math.sqrt(p)
    both = np.concatenate([x, alone, -alone])
    shrunk = fit_factors(x, 2, 3000, 2 * p / (n + 2 * p))
    expected = fit_factors(both, 2, 3000)
    np.testing.assert_allclose(shrunk.variance, expected.variance, rtol=1e-4)
    np.testing.assert_allclose(
        shrunk.loadings @ shrunk.loadings.T, expected.loadings @ expected.loadings.T, atol=1e-4
    )


def test_parameters_vary_as_those_of_a_regression_on_the_factors() -> None:
    """All columns but one leave no doubt about the two factors; that one is observed in half of the rows."""
    rng = np.random.default_rng(0)
    n, p = 200, 30
    model = FactorModel(np.zeros(p), rng.standard_normal((p, 2)), np.full(p, 1e-4))
    model.variance[0] = 0.5
    x, z = drawn(model, n)
    x[: n // 2, 0] = np.nan
    draws = perturbed(x, model, 0.0, 2000, np.random.default_rng(1))
    means, loadings = (np.stack([getattr(one, part)[0] for one in draws]) for part in ("mean", "loadings"))
    half = z[n // 2 :]
    expected = np.sqrt(0.5 * np.diagonal(np.linalg.inv(half.T @ half)))
    np.testing.assert_allclose(loadings.std(axis=0), expected, rtol=0.05)
    np.testing.assert_allclose(means.std(), np.sqrt(0.5 / (n // 2)), rtol=0.05)
    np.testing.assert_allclose(np.mean([one.loadings for one in draws], axis=0), model.loadings)
    np.testing.assert_allclose(np.mean([one.mean for one in draws], axis=0), model.mean, atol=1e-12)


def test_added_rows_leave_less_doubt() -> None:
    factors = known_factors()
    x, _ = drawn(factors, 100)

    def spread(shrinkage: float) -> float:
        draws = perturbed(x, factors, shrinkage, 50, np.random.default_rng(0))
        return float(np.std([one.loadings for one in draws], axis=0).mean())

    assert spread(0.8) < 0.6 * spread(0.0)
