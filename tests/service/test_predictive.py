"""Summaries of the predictive distribution, against laws that do not use the code."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest
import scipy.special
import scipy.stats

from models_store.manifest import Modality
from service.engine import summaries
from service.engine.draws import draw_x, fill_with_noise
from service.engine.summaries import FIELDS, LEVELS, SummaryOptions, only_averages, samples, summarise

VECTOR = Modality(
    name="body",
    kind="vector",
    shape=(2,),
    dtype="float32",
    likelihood="normal",
)
COUNTS = VECTOR.with_changes({"kind": "counts", "likelihood": "poisson"})
PICTURE = VECTOR.with_changes({"likelihood": "bernoulli", "range": (0, 255)})
LABEL = Modality(
    name="label",
    kind="category",
    shape=(),
    dtype="int64",
    likelihood="categorical",
    labels=("a", "b", "c"),
)


def linear_decoder(z: np.ndarray) -> dict[str, np.ndarray]:
    """x = 3 z + N(0, 4^2), for z of shape (n, K, 2)."""
    return {"loc": 3 * z, "log_scale": np.full_like(z, np.log(4))}


def noise(n: int, draws: int, seed: int, first_row: int = 0) -> np.ndarray:
    """Of z ~ N(0, 1) in two dimensions."""
    drawn = np.empty((n, draws, 2), np.float32)
    fill_with_noise(drawn, seed, first_row)
    return drawn


def wide_draws(n: int = 1, draws: int = 40_000, seed: int = 1) -> np.ndarray:
    """Of z ~ N((1, -2), 1)."""
    return np.array([1.0, -2.0]) + noise(n, draws, seed)


def test_mean_and_std_are_those_of_the_sum_of_both_uncertainties() -> None:
    """z ~ N(mu, 1), x | z ~ N(3 z, 4^2): x ~ N(3 mu, 5^2)."""
    summary = summarise(VECTOR, linear_decoder(wide_draws()), {"mean", "std"}, seed=1)
    np.testing.assert_allclose(summary["mean"], [[3.0, -6.0]], atol=0.1)
    np.testing.assert_allclose(summary["std"], [[5.0, 5.0]], rtol=0.02)


def test_quantiles_are_those_of_the_predictive_distribution() -> None:
    summary = summarise(VECTOR, linear_decoder(wide_draws()), {"quantiles"}, seed=1)
    expected = 5 * np.array([-1.6449, -0.6745, 0.0, 0.6745, 1.6449])
    np.testing.assert_allclose(summary["quantiles"][0, :, 0], 3 + expected, atol=0.15)
    assert summary["quantiles"].shape == (1, 5, 2)


@pytest.mark.parametrize("draws", [1, 2, 3, 19, 20, 100, 1000])
@pytest.mark.parametrize("modality", [VECTOR, COUNTS])
def test_quantiles_are_those_of_numpy(modality: Modality, draws: int) -> None:
    parameters = {name: noise(3, draws, seed=4) for name in modality.parameters}
    quantiles = summarise(modality, parameters, {"quantiles"}, seed=5)["quantiles"]
    expected = np.quantile(draw_x(modality, parameters, 5, 0), LEVELS, axis=1, method="weibull")
    np.testing.assert_allclose(quantiles, np.moveaxis(expected, 0, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("draws", [1, 20, 100])
def test_quantiles_of_pictures_are_those_of_the_mixture_of_bernoulli_distributions(draws: int) -> None:
    logits = 3 * noise(5, draws, seed=4)
    quantiles = summarise(PICTURE, {"logits": logits}, {"quantiles"}, seed=5)["quantiles"]
    p = scipy.special.expit(logits.astype(float)).mean(axis=1)
    expected = [255 * scipy.stats.bernoulli(p).ppf(level) for level in LEVELS]
    np.testing.assert_array_equal(quantiles, np.stack(expected, axis=1))


@pytest.mark.parametrize("modality", [VECTOR, COUNTS, PICTURE])
def test_moments_of_a_mixture_follow_the_law_of_total_variance(modality: Modality) -> None:
    parameters = {name: 20 * noise(3, 7, seed=4) for name in modality.parameters}
    mean, variance = modality.distribution.mixture_moments(parameters)
    exact = {name: value.astype(float) for name, value in parameters.items()}
    means, variances = modality.distribution.mean(exact), modality.distribution.variance(exact)
    np.testing.assert_allclose(mean, means.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(variance, variances.mean(axis=1) + means.var(axis=1), rtol=1e-5)


def test_the_variance_of_a_picture_keeps_its_digits_at_both_ends() -> None:
    logits = np.array([30, -30, 60, -60, 17], np.float32) * np.ones((2, 5, 1), np.float32)
    _, variance = PICTURE.distribution.mixture_moments({"logits": logits})
    p, q = (scipy.special.expit(sign * logits.astype(float)).mean(axis=1) for sign in (1, -1))
    np.testing.assert_allclose(variance, 255**2 * p * q, rtol=1e-5)


def test_ninety_per_cent_intervals_from_a_hundred_draws_cover_ninety_per_cent() -> None:
    n = 3000
    z = wide_draws(n, draws=100)
    quantiles = summarise(VECTOR, linear_decoder(z), {"quantiles"}, seed=2)["quantiles"]
    rng = np.random.default_rng(3)
    truth = rng.normal([3.0, -6.0], 5.0, size=(n, 2))
    covered = (quantiles[:, 0] <= truth) & (truth <= quantiles[:, 4])
    assert covered.mean() == pytest.approx(0.90, abs=0.015)


def test_probabilities_are_averaged_over_z_and_ranked() -> None:
    logits = np.log(np.array([[[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.2, 0.2, 0.6]]]))
    summary = summarise(LABEL, {"logits": logits}, {"probabilities", "mean"}, seed=0)
    np.testing.assert_allclose(summary["probabilities"], [[1 / 3, 0.2, 1.4 / 3]])
    assert summary["ranked"].tolist() == [["c", "a", "b"]]


def test_noise_makes_samples_draws_of_x() -> None:
    parameters = linear_decoder(wide_draws())
    assert np.std(samples(VECTOR, parameters, noise=True, seed=1)) > np.std(
        samples(VECTOR, parameters, noise=False, seed=1)
    )
    assert samples(LABEL, {"logits": np.zeros((2, 5, 3))}, noise=True, seed=1).shape == (2, 5)


def test_a_row_has_its_own_draws_wherever_it_stands() -> None:
    whole = wide_draws(3, draws=4)
    assert np.array_equal(noise(1, 4, seed=1, first_row=2), noise(3, 4, seed=1)[2:])
    parameters = linear_decoder(whole)
    last = {name: value[2:] for name, value in parameters.items()}
    one = samples(VECTOR, last, noise=True, seed=1, first_row=2)
    assert np.array_equal(one, samples(VECTOR, parameters, noise=True, seed=1)[2:])


def test_rows_and_seeds_draw_differently() -> None:
    z = wide_draws(2, draws=4)
    assert not np.array_equal(z[0], z[1])
    assert not np.array_equal(z, wide_draws(2, draws=4, seed=2))


@pytest.mark.parametrize("fields", [FIELDS, ("mean", "std"), ("quantiles",)], ids=str)
@pytest.mark.parametrize("modality", [VECTOR, COUNTS, PICTURE, LABEL], ids=lambda one: one.likelihood)
def test_summaries_that_only_average_draw_no_x(
    modality: Modality, fields: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are computed on the event loop up to a larger size."""
    drawing = Mock(wraps=draw_x)
    monkeypatch.setattr(summaries, "draw_x", drawing)
    shape = (2, 30, 3) if modality is LABEL else (2, 30, 2)
    parameters = {name: np.zeros(shape, np.float32) for name in modality.parameters}
    options = SummaryOptions(fields, 3, 30, 1)
    summaries.summaries(modality, parameters, options, 0)
    assert only_averages(modality, options, None) is not drawing.called
