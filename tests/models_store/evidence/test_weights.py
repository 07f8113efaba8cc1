"""Importance weights average to the likelihood, and say how well."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import genpareto

from models_store.evidence import Evidence, evidence, joined
from models_store.evidence.pareto import shape_of_tail
from models_store.evidence.weights import mixed
from tests.models_store.examples import NumpyArray

any_log_weights = arrays(np.float64, array_shapes(min_dims=2, max_dims=3), elements=st.floats(-1e4, 1e4))

SCALE = 0.5
"""Scale of the noise in the model z ~ N(0, 1), x | z ~ N(z, SCALE²), where x ~ N(0, 1 + SCALE²)."""


def log_normal(x: NumpyArray, mu: NumpyArray | float, variance: float) -> NumpyArray:
    return np.asarray(-((x - mu) ** 2 / variance + math.log(2 * math.pi * variance)) / 2)


def log_likelihood(x: NumpyArray) -> NumpyArray:
    """In closed form, for x of shape (rows,)."""
    return log_normal(x, 0.0, 1 + SCALE**2)


def log_weights(x: NumpyArray, draws: int, wide: float) -> NumpyArray:
    """Weights of draws from the true posterior with its variance multiplied, (draws, rows)."""
    mean, variance = x / (1 + SCALE**2), wide * SCALE**2 / (1 + SCALE**2)
    z = mean + math.sqrt(variance) * np.random.default_rng(1).standard_normal((draws, len(x)))
    return log_normal(z, 0.0, 1.0) + log_normal(x, z, SCALE**2) - log_normal(z, mean, variance)


def rows(n: int) -> NumpyArray:
    return np.random.default_rng(0).normal(0, math.sqrt(1 + SCALE**2), n)


def test_the_true_posterior_as_proposal_gives_the_likelihood_without_error() -> None:
    x = rows(20)
    estimate = evidence(log_weights(x, draws=10, wide=1))
    np.testing.assert_allclose(estimate.log_prob, log_likelihood(x), rtol=1e-10)
    np.testing.assert_allclose(estimate.std_error, 0, atol=1e-6)
    np.testing.assert_allclose(estimate.ess, 10)


def test_many_draws_approach_the_likelihood_in_closed_form() -> None:
    x = rows(20)
    estimate = evidence(log_weights(x, draws=100_000, wide=2))
    np.testing.assert_allclose(estimate.log_prob, log_likelihood(x), atol=0.01)


@pytest.mark.parametrize("wide", [1.5, 4.0])
def test_two_standard_errors_cover_the_truth_in_nineteen_of_twenty_repeats(wide: float) -> None:
    x = np.full(200, 1.3)
    estimate = evidence(log_weights(x, draws=500, wide=wide))
    covered = np.abs(estimate.log_prob - log_likelihood(x)) < 1.96 * estimate.std_error
    assert 0.90 <= covered.mean() <= 0.99


def test_standard_error_is_the_spread_of_repeated_estimates() -> None:
    estimate = evidence(log_weights(np.full(200, 1.3), draws=500, wide=3))
    assert estimate.std_error.mean() == pytest.approx(estimate.log_prob.std(), rel=0.15)


@given(weights=any_log_weights)
def test_effective_sample_size_is_between_one_and_the_number_of_draws(weights: NumpyArray) -> None:
    ess = evidence(weights).ess
    assert ess.shape == weights.shape[1:]
    assert (ess >= 1 - 1e-9).all()
    assert (ess <= len(weights) * (1 + 1e-9)).all()


@given(weights=any_log_weights)
def test_equal_weights_are_worth_all_draws(weights: NumpyArray) -> None:
    estimate = evidence(np.broadcast_to(weights[0], (7, *weights.shape[1:])))
    np.testing.assert_allclose(estimate.ess, 7)
    np.testing.assert_allclose(estimate.log_prob, weights[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(estimate.std_error, 0, atol=1e-6)
    assert estimate.reliable.all()
    assert np.isnan(estimate.k_hat).all()


def test_one_dominating_weight_is_worth_one_draw_and_has_no_error() -> None:
    estimate = evidence(np.array([-2000.0, 5.0, -2000.0, -2000.0]))
    assert float(estimate.ess) == 1
    assert float(estimate.log_prob) == pytest.approx(5 - math.log(4))
    assert not estimate.reliable
    assert math.isnan(estimate.std_error)


def test_one_draw_is_its_own_weight() -> None:
    estimate = evidence(np.array([[-3.0, 1e4]]))
    assert np.array_equal(estimate.log_prob, [-3, 1e4])
    assert np.array_equal(estimate.ess, [1, 1])
    assert not estimate.reliable.any()


def test_draws_of_weight_zero_count_as_draws() -> None:
    estimate = evidence(np.array([2.0, -math.inf]))
    assert float(estimate.log_prob) == pytest.approx(2 - math.log(2))


def test_a_row_that_no_draw_explains_has_likelihood_zero() -> None:
    estimate = evidence(np.full(3, -math.inf))
    assert float(estimate.log_prob) == -math.inf
    assert (float(estimate.ess), bool(estimate.reliable)) == (0, False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_gives_no_estimate(value: float) -> None:
    estimate = evidence(np.array([*[0.0] * 99, value]))
    assert math.isnan(estimate.log_prob)
    assert not estimate.reliable


@given(weights=any_log_weights, shift=st.floats(-1e3, 1e3))
def test_a_factor_moves_the_likelihood_and_nothing_else(weights: NumpyArray, shift: float) -> None:
    before, after = evidence(weights), evidence(weights + shift)
    np.testing.assert_allclose(after.log_prob, before.log_prob + shift, atol=1e-8)
    np.testing.assert_allclose(after.ess, before.ess, rtol=1e-6)


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.5, 0.8, 1.5])
def test_k_hat_is_the_shape_of_the_tail(shape: float) -> None:
    """Weights whose tail is a generalised Pareto distribution; a few hundred of 20,000 are looked at."""
    drawn = genpareto.rvs(shape, size=(8, 20_000), random_state=3)
    estimates = [shape_of_tail(np.log(weights)) for weights in drawn]
    assert np.mean(estimates) == pytest.approx(shape, abs=0.1)


def test_too_few_weights_have_no_tail_to_judge() -> None:
    assert math.isnan(shape_of_tail(np.log(np.arange(1.0, 21.0))))
    assert not math.isnan(shape_of_tail(np.log(np.arange(1.0, 31.0))))


def test_a_heavy_tail_is_not_reliable_however_many_draws_it_is_worth() -> None:
    rng = np.random.default_rng(0)
    heavy = evidence(np.log(genpareto.rvs(0.9, size=5000, random_state=0) + 60))
    assert heavy.ess > 100
    assert heavy.k_hat > 0.7
    assert not heavy.reliable
    light = evidence(rng.normal(0, 0.3, 5000))
    assert light.reliable
    assert light.k_hat < 0.7


@pytest.mark.parametrize(("draws", "least"), [(1000, 100), (5000, 100), (200, 20)])
def test_a_reliable_estimate_is_worth_a_hundred_draws_or_a_tenth_of_fewer(draws: int, least: int) -> None:
    """As many equal weights as given, the others 0: they have no spread but in their number."""
    rng = np.random.default_rng(0)

    def reliable(carrying: int) -> bool:
        weights = np.full(draws, -50.0)
        weights[:carrying] = rng.normal(0, 0.05, carrying)
        return bool(evidence(weights).reliable)

    assert [reliable(least - 5), reliable(least + 15)] == [False, True]


def test_each_source_adds_its_own_spread() -> None:
    """Strata of weight 1 and 3 without spread: the number of draws from each is fixed, so is their mean."""
    strata = np.log(np.repeat([1.0, 3.0], 500) * np.random.default_rng(0).uniform(0.99, 1.01, 1000))
    assert evidence(strata, [500, 500]).std_error < 0.1 * evidence(strata).std_error


def test_a_member_that_explains_nothing_halves_the_density_and_no_more() -> None:
    some, none = one_row(-3.0, 0.1, 300.0, 0.2), one_row(-np.inf, np.nan, 0.0, np.nan)
    mixture = mixed([some, none], [0.5, 0.5])
    assert mixture.log_prob.tolist() == [-3.0 + math.log(0.5)]
    assert mixture.ess.tolist() == [300.0]
    assert not mixture.reliable.any()  # the other one may have missed a mode
    assert mixed([none, none], [0.5, 0.5]).log_prob.tolist() == [-np.inf]
    assert mixed([none, none], [0.5, 0.5]).ess.tolist() == [0.0]


def one_row(log_prob: float, error: float, size: float, shape: float) -> Evidence:
    """An estimate of one row, reliable where it has an error."""
    values = (np.array([x]) for x in (log_prob, error, size, shape))
    return Evidence(next(values), next(values), next(values), next(values), np.isfinite([error]))


def test_parts_are_joined_in_their_order() -> None:
    whole = evidence(np.log(np.arange(1.0, 61.0).reshape(10, 6)))
    parts = [Evidence(**{k: v[rows] for k, v in vars(whole).items()}) for rows in (slice(4), slice(4, 6))]
    for key, value in vars(joined(parts)).items():
        np.testing.assert_array_equal(value, getattr(whole, key))
