"""Importance weights average to the likelihood, and say themselves how well."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import norm

from models_store.evidence import Evidence, Proposals, conditional, defensive, evidence, plain, widened
from models_store.evidence import estimate as estimate_of
from models_store.evidence import log_weights as weights_of
from models_store.fusion import Gaussian
from tests.models_store.examples import LIBRARIES, NumpyArray

both_libraries = pytest.mark.parametrize("library", LIBRARIES)
any_log_weights = arrays(np.float64, array_shapes(min_dims=2, max_dims=3), elements=st.floats(-1e4, 1e4))

SCALE = 0.5
"""Of the noise in the model z ~ N(0, 1), x | z ~ N(z, SCALE²), where x ~ N(0, 1 + SCALE²)."""


def normal(mu: NumpyArray | float, variance: float) -> Gaussian:
    return Gaussian(np.asarray(mu), np.log(variance))


def log_likelihood(x: NumpyArray) -> NumpyArray:
    """In closed form, for x of shape (rows, 1)."""
    return normal(0.0, 1 + SCALE**2).log_prob(x)


def drawn(proposals: Proposals, repeats: int, seed: int) -> NumpyArray:
    """Draws of z from them, (K, repeats, 1)."""
    rng = np.random.default_rng(seed)
    (z,) = proposals.sample(lambda count: rng.standard_normal((count, repeats, 1)), proposals.draws)
    return np.asarray(z)


def log_weights(x: NumpyArray, draws: int, wide: float) -> NumpyArray:
    """Of draws from the true posterior with its variance multiplied, (draws, rows)."""
    q = normal(x / (1 + SCALE**2), wide * SCALE**2 / (1 + SCALE**2))
    proposals = plain([Gaussian(q.mu, np.broadcast_to(q.log_var, q.mu.shape))], draws)
    z = drawn(proposals, len(x), 1)
    return np.asarray(weights_of(z, proposals, [(normal(z, SCALE**2).log_prob(x), np.ones(len(x), bool))])[0])


def rows(n: int) -> NumpyArray:
    return np.random.default_rng(0).normal(0, math.sqrt(1 + SCALE**2), (n, 1))


@both_libraries
def test_the_true_posterior_as_proposal_gives_the_likelihood_without_error(library: str) -> None:
    x = rows(20)
    estimate = evidence(LIBRARIES[library](log_weights(x, draws=10, wide=1)))
    np.testing.assert_allclose(estimate.log_prob, log_likelihood(x), rtol=1e-10)
    np.testing.assert_allclose(estimate.std_error, 0, atol=1e-6)
    np.testing.assert_allclose(estimate.ess, 10)


@both_libraries
def test_many_draws_approach_the_likelihood_in_closed_form(library: str) -> None:
    x = rows(20)
    estimate = evidence(LIBRARIES[library](log_weights(x, draws=100_000, wide=2)))
    np.testing.assert_allclose(estimate.log_prob, log_likelihood(x), atol=0.01)


@pytest.mark.parametrize("wide", [1.5, 4.0])
def test_two_standard_errors_cover_the_truth_in_nineteen_of_twenty_repeats(wide: float) -> None:
    x = np.full((200, 1), 1.3)
    estimate = evidence(log_weights(x, draws=500, wide=wide))
    covered = np.abs(estimate.log_prob - log_likelihood(x)) < 1.96 * estimate.std_error
    assert 0.90 <= covered.mean() <= 0.99


def test_standard_error_is_the_spread_of_repeated_estimates() -> None:
    estimate = evidence(log_weights(np.full((200, 1), 1.3), draws=500, wide=3))
    assert estimate.std_error.mean() == pytest.approx(estimate.log_prob.std(), rel=0.15)


@both_libraries
@given(weights=any_log_weights)
def test_effective_sample_size_is_between_one_and_the_number_of_draws(
    library: str, weights: NumpyArray
) -> None:
    ess = np.asarray(evidence(LIBRARIES[library](weights)).ess)
    assert ess.shape == weights.shape[1:]
    assert (ess >= 1 - 1e-9).all()
    assert (ess <= len(weights) * (1 + 1e-9)).all()


@both_libraries
@given(weights=any_log_weights)
def test_equal_weights_are_worth_all_draws(library: str, weights: NumpyArray) -> None:
    estimate = evidence(LIBRARIES[library](np.broadcast_to(weights[0], (7, *weights.shape[1:])).copy()))
    np.testing.assert_allclose(estimate.ess, 7)
    np.testing.assert_allclose(estimate.log_prob, weights[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(estimate.std_error, 0, atol=1e-6)


@both_libraries
def test_one_dominating_weight_is_worth_one_draw(library: str) -> None:
    weights = np.array([-2000.0, 5.0, -2000.0, -2000.0])
    estimate = evidence(LIBRARIES[library](weights))
    assert float(estimate.ess) == 1
    assert float(estimate.log_prob) == pytest.approx(5 - math.log(4))
    assert float(estimate.std_error) == pytest.approx(1)


@both_libraries
def test_one_draw_is_its_own_weight(library: str) -> None:
    estimate = evidence(LIBRARIES[library](np.array([[-3.0, 1e4]])))
    assert np.array_equal(estimate.log_prob, [-3, 1e4])
    assert np.array_equal(estimate.ess, [1, 1])


@both_libraries
def test_draws_of_weight_zero_count_as_draws(library: str) -> None:
    estimate = evidence(LIBRARIES[library](np.array([2.0, -math.inf])))
    assert float(estimate.log_prob) == pytest.approx(2 - math.log(2))


@both_libraries
def test_a_row_that_no_draw_explains_has_likelihood_zero(library: str) -> None:
    estimate = evidence(LIBRARIES[library](np.full(3, -math.inf)))
    assert float(estimate.log_prob) == -math.inf


@both_libraries
@given(weights=any_log_weights, shift=st.floats(-1e3, 1e3))
def test_a_factor_moves_the_likelihood_and_nothing_else(
    library: str, weights: NumpyArray, shift: float
) -> None:
    before = evidence(LIBRARIES[library](weights))
    after = evidence(LIBRARIES[library](weights + shift))
    np.testing.assert_allclose(after.log_prob, before.log_prob + shift, atol=1e-8)
    np.testing.assert_allclose(after.ess, before.ess, rtol=1e-6)
    np.testing.assert_allclose(after.std_error, before.std_error, atol=1e-5)


@both_libraries
@pytest.mark.parametrize("value", [0.0, -1e300, math.nan])
def test_a_missing_modality_has_no_part_in_a_weight(library: str, value: float) -> None:
    """Without any, the weight of a draw from the prior is one."""
    to = LIBRARIES[library]
    prior = Gaussian(to(np.zeros((3, 2))), to(np.zeros((3, 2))))
    z = to(np.random.default_rng(0).standard_normal((5, 3, 2)))
    missing = (to(np.full((5, 3), value)), to(np.zeros(3, bool)))
    assert np.array_equal(weights_of(z, plain([prior], 5), [missing], [missing]), np.zeros((2, 5, 3)))


@both_libraries
@pytest.mark.parametrize("draws", [1, 2, 5, 19, 20, 105])
def test_the_density_of_proposals_is_that_of_the_mixture_that_was_drawn_from(
    library: str, draws: int
) -> None:
    to = LIBRARIES[library]
    means, variances = np.array([-1.0, 2.0]), np.array([0.25, 4.0])
    parts = [Gaussian(to(means[i, None]), to(np.log(variances[i, None]))) for i in (0, 1)]
    proposals = defensive(parts, draws)
    few = draws < 20
    widths = [0.5, 2] if few else [0.5, 0.75, 1, 1, 2, 2, 2, 2]  # none is wider than the prior
    centres = means.repeat(len(widths) // 2)
    *counts, from_prior = proposals.counts
    assert from_prior == (0 if few else draws // 10)
    assert sum(counts) + from_prior == draws
    assert max(counts) - min(counts) <= 1
    z = np.linspace(-3, 5, 9)
    density = norm.pdf(z[:, None], [*centres, 0], [*widths, 1])
    expected = np.log(density @ np.array(proposals.counts) / draws)
    np.testing.assert_allclose(np.asarray(proposals.log_prob(to(z[:, None]))), expected, rtol=1e-12)


@both_libraries
@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any), at_once=st.integers(1, 12))
def test_portions_are_the_same_draws_in_the_same_order(library: str, counts: list[int], at_once: int) -> None:
    """Without width, so that a draw is where its source is."""
    to = LIBRARIES[library]
    sources = [Gaussian(to(np.full((1, 1), i)), to(np.full((1, 1), -math.inf))) for i in range(len(counts))]
    portions = list(Proposals(sources, counts).sample(lambda n: to(np.ones((n, 1, 1))), at_once))
    assert [len(portion) for portion in portions[:-1]] == [at_once] * (len(portions) - 1)
    assert 1 <= len(portions[-1]) <= at_once
    drawn = np.concatenate([np.asarray(portion) for portion in portions])[:, 0, 0]
    np.testing.assert_array_equal(drawn, np.repeat(np.arange(len(counts)), counts))


@both_libraries
def test_nothing_is_widened_beyond_the_prior(library: str) -> None:
    std = np.array([0.1, 0.6, 1.0, 3.0])
    wider = widened(Gaussian(LIBRARIES[library](std), LIBRARIES[library](2 * np.log(std))), 2.0)
    np.testing.assert_allclose(np.exp(np.asarray(wider.log_var) / 2), [0.2, 1.0, 1.0, 3.0])
    np.testing.assert_array_equal(np.asarray(wider.mu), std)


TRUE_VARIANCE = SCALE**2 / (1 + SCALE**2)
"""Of z given x, in each dimension."""


def in_ten_dimensions(propose: Callable[[Sequence[Gaussian], int], Proposals], narrowed: float) -> Evidence:
    """log p(x), less its closed form, from a posterior of that share of the true standard deviation."""
    rng = np.random.default_rng(0)
    x = np.broadcast_to(rng.normal(0, math.sqrt(1 + SCALE**2), (1, 10)), (50, 10))
    q = Gaussian(x / (1 + SCALE**2), np.full(x.shape, math.log(TRUE_VARIANCE * narrowed**2)))
    proposals = propose([q], 1000)
    (z,) = proposals.sample(lambda count: rng.standard_normal((count, *x.shape)), proposals.draws)
    likelihood = Gaussian(z, np.full(z.shape, 2 * math.log(SCALE))).log_prob(x)
    actual = estimate_of(weights_of(z, proposals, [(likelihood, np.ones(50, bool))]), proposals)
    return replace(actual, log_prob=actual.log_prob - log_likelihood(x))


@pytest.mark.parametrize("narrowed", [0.3, 1.0])
def test_wider_proposals_forgive_a_posterior_that_is_too_narrow(narrowed: float) -> None:
    estimate = in_ten_dimensions(defensive, narrowed)
    assert (np.abs(estimate.log_prob) < 4 * estimate.std_error).all()
    assert (np.abs(estimate.log_prob) < 0.5).all()
    assert np.median(estimate.ess) > 100


def test_a_posterior_alone_that_is_too_narrow_gives_nats_too_little() -> None:
    estimate = in_ten_dimensions(plain, 0.3)
    assert np.mean(estimate.log_prob) < -1
    assert np.median(estimate.ess) < 20


def test_where_little_is_known_the_prior_finds_what_the_posterior_misses() -> None:
    """A label says that z is above 1 of N(0, 1), of which its posterior covers a small part."""
    narrow = Gaussian(np.full((400, 1), 1.5), np.full((400, 1), math.log(0.01)))
    proposals = defensive([narrow], 1000)
    z = drawn(proposals, 400, 3)
    above = np.where(z[..., 0] > 1, 0.0, -math.inf)
    estimate = estimate_of(weights_of(z, proposals, [(above, np.ones(400, bool))]), proposals)
    assert np.exp(estimate.log_prob).mean() == pytest.approx(norm.sf(1), rel=0.02)
    assert estimate.std_error.mean() == pytest.approx(estimate.log_prob.std(), rel=0.2)


def told(repeats: int, draws: int, narrowed: float) -> Evidence:
    """log p(b | a) for a = 1.3 and b = 0.2, two measurements of one z; the width of q(z | a, b) is off."""
    a, b = np.full((repeats, 1), 1.3), np.full((repeats, 1), 0.2)
    both, one = 1 / (1 + 2 / SCALE**2), 1 / (1 + 1 / SCALE**2)
    parts = [normal((a + b) * both / SCALE**2, narrowed * both), normal(a * one / SCALE**2, one)]
    parts = [Gaussian(q.mu, np.broadcast_to(q.log_var, q.mu.shape)) for q in parts]
    proposals = defensive(parts, draws)
    z = drawn(proposals, repeats, 2)
    seen = np.ones(repeats, bool)
    of_b, of_a = ((normal(z, SCALE**2).log_prob(x), seen) for x in (b, a))
    return estimate_of(weights_of(z, proposals, [of_b], [of_a]), proposals)


def truth() -> float:
    gain = 1 / (1 + SCALE**2)
    return float(norm.logpdf(0.2, 1.3 * gain, math.sqrt(1 - gain + SCALE**2)))


@pytest.mark.parametrize("narrowed", [0.1, 1.0, 3.0])
def test_a_conditional_and_its_error_are_right_however_wide_the_joint_proposal_is(narrowed: float) -> None:
    estimate = told(400, 501, narrowed)
    assert estimate.log_prob.mean() == pytest.approx(truth(), abs=0.01)
    assert estimate.std_error.mean() == pytest.approx(estimate.log_prob.std(), rel=0.15)
    covered = np.abs(estimate.log_prob - truth()) < 1.96 * estimate.std_error
    assert 0.92 <= covered.mean() <= 0.98
    assert ((estimate.ess >= 1) & (estimate.ess <= 501)).all()


@both_libraries
@given(weights=any_log_weights)
def test_what_says_nothing_new_scores_exactly_0(library: str, weights: NumpyArray) -> None:
    same = LIBRARIES[library](weights)
    estimate = conditional(same, same, [len(weights) - len(weights) // 2, len(weights) // 2])
    assert np.array_equal(estimate.log_prob, np.zeros(weights.shape[1:]))


@both_libraries
def test_what_no_draw_explains_has_a_conditional_of_zero(library: str) -> None:
    to = LIBRARIES[library]
    estimate = conditional(to(np.full((4, 1), -math.inf)), to(np.zeros((4, 1))), [2, 2])
    assert float(estimate.log_prob[0]) == -math.inf
    assert math.isnan(float(estimate.std_error[0]))
