"""The mixture of a row: fixed numbers of draws from sources whose densities are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from models_store.evidence.laplace import Peak
from models_store.evidence.mixture import (
    Mixture,
    Normal,
    SplitNormal,
    encoder_mixture,
    laplace_mixture,
    widened,
)
from tests.models_store.evidence.scoring import noise
from tests.models_store.examples import NumpyArray

PEAK = Peak(
    centre=np.array([0.5, -1.0]),
    axes=np.array([[0.8, -0.6], [0.6, 0.8]]),
    ahead=np.array([0.2, 1.0]),
    behind=np.array([0.7, 0.5]),
)


def grid(width: float, points: int) -> tuple[NumpyArray, float]:
    """Points of a square, (points², 2), and the area of a cell."""
    line = np.linspace(-width, width, points)
    return np.array(list(itertools.product(line, line))), float((line[1] - line[0]) ** 2)


@pytest.mark.parametrize("source", [SplitNormal(PEAK), SplitNormal(PEAK, 1.25), Normal(*np.ones((2, 2)))])
def test_the_density_of_a_source_integrates_to_one(source: SplitNormal | Normal) -> None:
    u, cell = grid(9, 600)
    assert np.exp(source.log_prob(u)).sum() * cell == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("source", [SplitNormal(PEAK), SplitNormal(PEAK, 1.25)])
def test_draws_of_a_split_normal_have_the_moments_of_its_density(source: SplitNormal) -> None:
    u, cell = grid(9, 600)
    p = np.exp(source.log_prob(u)) * cell
    drawn = source.sample(noise(1, 2, 0)[0], 200_000)
    np.testing.assert_allclose(drawn.mean(axis=0), p @ u, atol=0.01)
    np.testing.assert_allclose((drawn**2).mean(axis=0), p @ u**2, rtol=0.02)
    assert drawn.prod(axis=1).mean() == pytest.approx(p @ u.prod(axis=1), abs=0.02)
    assert (drawn**3).mean(axis=0) == pytest.approx(p @ u**3, abs=0.1)


def test_no_source_is_wider_than_the_prior() -> None:
    std = np.array([0.1, 0.6, 1.0, 3.0])
    np.testing.assert_allclose(widened(Normal(std, std), 2.0).std, [0.2, 1.0, 1.0, 3.0])
    np.testing.assert_array_equal(widened(Normal(std, std), 2.0).mu, std)
    assert max(max(side) for side in SplitNormal(PEAK, 2.0)._sides()) == 1.0


@pytest.mark.parametrize("draws", [20, 105, 1000, 4000])
def test_nine_tenths_of_the_draws_come_from_the_peak(draws: int) -> None:
    mixture = laplace_mixture(PEAK, Normal(np.zeros(2), np.full(2, 0.3)), draws)
    assert mixture.draws == draws
    assert sum(mixture.counts[:2]) >= 0.9 * draws
    assert mixture.counts[-1] == draws // 20


@pytest.mark.parametrize("draws", [1, 2, 5, 19, 20, 105])
def test_the_density_of_a_mixture_is_that_of_its_draws(draws: int) -> None:
    mixture = encoder_mixture(Normal(np.array([-1.0]), np.array([0.5])), draws)
    few = draws < 20
    widths = [0.5] if few else [0.5, 0.75, 1, 1]  # none is wider than the prior
    *counts, from_prior = mixture.counts
    assert from_prior == (0 if few else draws // 10)
    assert sum(counts) + from_prior == draws
    assert max(counts) - min(counts) <= 1
    u = np.linspace(-3, 5, 9)
    density = norm.pdf(u[:, None], [*[-1.0] * len(widths), 0], [*widths, 1])
    expected = np.log(density @ np.array(mixture.counts) / draws)
    np.testing.assert_allclose(mixture.log_prob(u[:, None]), expected, rtol=1e-12)


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any), at_once=st.integers(1, 12))
def test_portions_are_the_same_draws_in_the_same_order(counts: list[int], at_once: int) -> None:
    """Without width, so that a draw is where its source is."""
    sources = [Normal(np.array([float(i)]), np.zeros(1)) for i in range(len(counts))]
    portions = list(Mixture(sources, counts).sample(lambda n: np.ones((n, 1)), at_once))
    assert [len(portion) for portion in portions[:-1]] == [at_once] * (len(portions) - 1)
    assert 1 <= len(portions[-1]) <= at_once
    np.testing.assert_array_equal(np.concatenate(portions)[:, 0], np.repeat(np.arange(len(counts)), counts))
