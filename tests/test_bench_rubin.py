"""The benchmark of multiple imputation: Rubin's rules, and a simulation that has the right answer."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tables.rubin import (
    COEFFICIENTS,
    complete_table,
    least_squares,
    pooled,
    scores_of,
    with_gaps,
)
from models_store.arrays import Array

M, ROWS = 5, 100


def drawn_outcomes(table: Array, rng: np.random.Generator, *, certain: bool) -> Array:
    """The table with its missing outcomes drawn from their predictive distribution.

    Arguments:
        table: Table without gaps but in the outcome.
        rng: Source of the draws.
        certain: Whether coefficients are taken as known, which leaves out their uncertainty.
    """
    seen = table[~np.isnan(table[:, -1])]
    x, new = (np.column_stack([np.ones(len(rows)), rows[:, :-1]]) for rows in (seen, table))
    estimate, _ = least_squares(seen)
    freedom = len(seen) - x.shape[1]
    squares = ((seen[:, -1] - x @ estimate) ** 2).sum()
    noise, coefficients = squares / freedom, estimate
    if not certain:
        noise = squares / rng.chisquare(freedom)
        coefficients = rng.multivariate_normal(estimate, noise * np.linalg.inv(x.T @ x))
    values = new @ coefficients + noise**0.5 * rng.normal(size=len(table))
    return np.where(np.isnan(table), np.column_stack([table[:, :-1], values]), table)


@pytest.mark.parametrize(("certain", "covers"), [(False, True), (True, False)], ids=["proper", "too narrow"])
def test_pooled_intervals_cover_if_draws_carry_the_uncertainty_of_the_coefficients(
    certain: bool, covers: bool
) -> None:
    covered = []
    for number in range(200):
        rng = np.random.default_rng(number)
        table = complete_table(rng, ROWS)
        table[rng.random(ROWS) < 0.5, -1] = np.nan
        scores = scores_of(pooled([drawn_outcomes(table, rng, certain=certain) for _ in range(M)]))
        covered += [scores[f"{name} covered"] for name in COEFFICIENTS]
    assert (0.93 <= float(np.mean(covered)) <= 0.97) == covers


def test_equal_tables_have_the_estimate_of_one() -> None:
    table = complete_table(np.random.default_rng(0), ROWS)
    interval = pooled([table] * M)
    estimate, variances = least_squares(table)
    np.testing.assert_allclose(interval.estimate, estimate)
    complete = ROWS - len(COEFFICIENTS)
    assert np.all((interval.high - interval.low) / variances**0.5 > 2 * 1.96)
    assert np.all((interval.high - interval.low) / variances**0.5 < 2 * 1.96 * (1 + 4 / complete))


def test_cells_go_missing_more_often_where_the_first_column_is_large() -> None:
    table = with_gaps(complete_table(np.random.default_rng(0), 4000), np.random.default_rng(1))
    gaps, large = np.isnan(table), table[:, 0] > 0
    assert not gaps[:, 0].any()
    assert gaps[:, 1:].mean() == pytest.approx(0.25, abs=0.02)
    assert gaps[large].mean() > 1.3 * gaps[~large].mean()
