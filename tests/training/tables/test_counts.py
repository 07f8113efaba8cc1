"""The family of counts is the one of which they were drawn, or the usual one where rows are too few."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.models_store.examples import NumpyArray
from training.tables.counts import count_likelihood

Draw = Callable[[np.random.Generator, int], NumpyArray]


def poisson(rng: np.random.Generator, rows: int) -> NumpyArray:
    return rng.poisson(3.0, rows)


def dispersed(rng: np.random.Generator, rows: int) -> NumpyArray:
    """Negative binomial, of which 45 % are 0."""
    return rng.poisson(rng.gamma(0.5, 4.0, rows))


def with_zeros(rng: np.random.Generator, rows: int) -> NumpyArray:
    return rng.poisson(rng.gamma(3.0, 2.0, rows)) * (rng.random(rows) < 0.5)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [(poisson, "poisson"), (dispersed, "negative_binomial"), (with_zeros, "zero_inflated")],
)
def test_most_draws_of_a_family_get_its_name(draw: Draw, expected: str) -> None:
    rng = np.random.default_rng(0)
    families = [count_likelihood([draw(rng, 1000).astype(float)]) for _ in range(10)]
    assert families.count(expected) >= (5 if expected == "poisson" else 9)  # the limit of all
    assert families.count("zero_inflated") <= (10 if expected == "zero_inflated" else 1)


def test_gaps_and_few_rows_and_constants_leave_the_usual_family() -> None:
    rng = np.random.default_rng(1)
    gaps = with_zeros(rng, 1000).astype(float)
    gaps[::3] = np.nan
    assert count_likelihood([gaps]) == "zero_inflated"
    assert count_likelihood([gaps[:60]]) == "negative_binomial"
    assert count_likelihood([np.zeros(1000)]) == "negative_binomial"
    assert count_likelihood([np.empty(0)]) == "negative_binomial"


def test_the_columns_of_a_view_decide_together() -> None:
    rng = np.random.default_rng(2)
    views = [[draw(rng, 200).astype(float) for _ in range(30)] for draw in (dispersed, with_zeros)]
    assert [count_likelihood(view) for view in views] == ["negative_binomial", "zero_inflated"]
