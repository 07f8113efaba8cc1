"""Bernoulli, categorical, negative binomial and Student's t at the ends of their parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions

from models_store.likelihoods import Bernoulli, likelihood
from tests.models_store.examples import LIBRARIES
from tests.models_store.test_likelihoods import TOLERANCE, both_libraries, within


@pytest.mark.parametrize("extreme", [90.0, 1e4, 1e30])
@pytest.mark.parametrize("family", [Bernoulli(), Bernoulli(0, 255)])
def test_extreme_logits_stay_finite(family: Bernoulli, extreme: float) -> None:
    logits = torch.tensor([-extreme, extreme, -extreme, extreme], requires_grad=True)
    log_prob = family.log_prob(torch.tensor([family.low, family.high] * 2).flip(0), {"logits": logits})
    log_prob.sum().backward()
    mean, variance = (moment({"logits": logits.detach()}) for moment in (family.mean, family.variance))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert log_prob.isfinite().all()
    assert mean.tolist() == pytest.approx([family.low, family.high] * 2, abs=1e-30)
    assert (variance < 1e-30).all()


@both_libraries
def test_extreme_logits_of_a_category_stay_finite(library: str) -> None:
    logits = LIBRARIES[library](np.array([[1e30, -1e30, 0], [200, 0, -200]], np.float32))
    family = likelihood("categorical")
    log_prob = family.log_prob(LIBRARIES[library](np.array([0, 2])), {"logits": logits})
    np.testing.assert_allclose(log_prob, [0, -400])
    np.testing.assert_allclose(family.mean({"logits": logits}), [[1, 0, 0], [1, 0, 0]], atol=1e-30)


@both_libraries
@pytest.mark.parametrize("log_total", [8.0, 12.0, 15.0, 20.0, 60.0, 200.0])
def test_negative_binomial_approaches_poisson_in_single_precision(library: str, log_total: float) -> None:
    x, log_mean = np.array([[0, 1, 3, 40], [1, -2, 1, 3]], np.float32)
    parameters = {"log_mean": log_mean, "log_total_count": np.full(4, log_total, np.float32)}
    log_prob = likelihood("negative_binomial").log_prob(
        LIBRARIES[library](x), within(library, parameters, np.float32)
    )
    mean = np.exp(log_mean.astype(float))
    # log p - log Poisson = ((x - m)^2 - x) / (2 r) + O(r^-2)
    expected = stats.poisson(mean).logpmf(x) + ((x - mean) ** 2 - x) / (2 * np.exp(log_total))
    np.testing.assert_allclose(log_prob, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("log_total", [-200.0, -20.0, 20.0, 200.0])
def test_gradients_of_negative_binomial_are_finite_at_every_dispersion(log_total: float) -> None:
    parameters = {"log_mean": torch.tensor([1.0, -2, 5]), "log_total_count": torch.full((3,), log_total)}
    for tensor in parameters.values():
        tensor.requires_grad_()
    log_prob = likelihood("negative_binomial").log_prob(torch.tensor([0.0, 3, 40]), parameters)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in parameters.values())


@pytest.mark.parametrize("log_total", [20.0, 60.0, 200.0])
def test_samples_of_negative_binomial_approach_poisson_in_single_precision(log_total: float) -> None:
    n = 10_000
    many = {"log_mean": np.full(n, math.log(20)), "log_total_count": np.full(n, log_total)}
    x = likelihood("negative_binomial").sample(within("numpy", many, np.float32), np.random.default_rng(9))
    assert x.mean() == pytest.approx(20, abs=4 * math.sqrt(20 / n))
    assert x.var() == pytest.approx(20, rel=0.06)


@both_libraries
def test_student_t_agrees_with_torch_at_every_number_of_degrees_of_freedom(library: str) -> None:
    log_df = np.linspace(-7, 7, 57)
    x = np.linspace(-50, 50, 11)[:, None]
    parameters = {"loc": np.full(57, 0.3), "log_scale": np.full(57, -0.5), "log_df": log_df}
    log_prob = likelihood("student_t").log_prob(LIBRARIES[library](x), within(library, parameters))
    oracle = distributions.StudentT(torch.tensor(np.exp(log_df)), 0.3, math.exp(-0.5))
    np.testing.assert_allclose(log_prob, oracle.log_prob(torch.tensor(x)), rtol=1e-6)


@both_libraries
def test_student_t_clips_degrees_of_freedom(library: str) -> None:
    def log_prob(log_df: float) -> Any:
        parameters = {"loc": np.zeros(3), "log_scale": np.zeros(3), "log_df": np.full(3, log_df)}
        x = LIBRARIES[library](np.array([-4.0, 0.0, 9.0]))
        return np.asarray(likelihood("student_t").log_prob(x, within(library, parameters)))

    assert np.array_equal(log_prob(40.0), log_prob(7.0))
    assert np.array_equal(log_prob(-40.0), log_prob(-7.0))


def test_student_t_with_half_integrates_to_one_over_its_heavy_tails() -> None:
    parameters = {"loc": np.full(1, 2.0), "log_scale": np.full(1, 0.5), "log_df": np.full(1, math.log(0.5))}
    angle = np.linspace(-1, 1, 400_003)[1:-1, None]  # x = loc + (u / (1 - u^2))^5 reaches far
    place = angle / (1 - angle**2)
    slope = 5 * place**4 * (1 + angle**2) / (1 - angle**2) ** 2
    density = np.exp(likelihood("student_t").log_prob(2.0 + place**5, parameters))
    np.testing.assert_allclose(np.trapezoid(density * slope, angle, axis=0), 1, rtol=1e-2)


@both_libraries
def test_student_t_has_an_infinite_variance_up_to_two_degrees_of_freedom(library: str) -> None:
    df = np.array([0.1, 1.0, 2.0, 3.0])
    parameters = {"loc": np.zeros(4), "log_scale": np.zeros(4), "log_df": np.log(df)}
    variance = likelihood("student_t").variance(within(library, parameters))
    np.testing.assert_allclose(variance, [math.inf, math.inf, math.inf, 3.0])


def test_student_t_draws_are_finite_with_the_heaviest_tails() -> None:
    n = 10_000
    parameters = {"loc": np.zeros(n), "log_scale": np.zeros(n), "log_df": np.full(n, -7.0)}
    x = likelihood("student_t").sample(within("numpy", parameters, np.float32), np.random.default_rng(0))
    assert x.dtype == np.float32
    assert np.isfinite(x**2).all()
