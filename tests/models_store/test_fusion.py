"""The posterior is the prior times the experts that were observed, in every library and at every scale."""

from __future__ import annotations

import math
from random import Random
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from torch.distributions import Independent, Normal, kl_divergence

from models_store.fusion import (
    LOG_2PI,
    Gaussian,
    disagreement,
    log_normaliser,
    product,
    product_with_shares,
    standard_normal,
)
from tests.models_store.examples import LIBRARIES, NumpyArray

both_libraries = pytest.mark.parametrize("library", LIBRARIES)


class Experts(NamedTuple):
    mu: NumpyArray  # (M, B, D)
    log_var: NumpyArray
    present: NumpyArray  # (M, B)


@st.composite
def experts(
    draw: st.DrawFn, log_var: float = 6, mu: float = 10, dtype: type[np.floating] = np.float64
) -> Experts:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)))
    width: Literal[32, 64] = 32 if dtype is np.float32 else 64
    return Experts(
        draw(arrays(dtype, shape, elements=st.floats(-mu, mu, width=width))),
        draw(arrays(dtype, shape, elements=st.floats(-log_var, log_var, width=width))),
        draw(arrays(np.bool_, shape[:2])),
    )


def fuse(library: str, mu: NumpyArray, log_var: NumpyArray, present: NumpyArray) -> Gaussian:
    """The posterior as numpy arrays, computed in the given library."""
    to = LIBRARIES[library]
    posterior = product(Gaussian(to(mu), to(log_var)), to(present))
    return Gaussian(np.asarray(posterior.mu), np.asarray(posterior.log_var))


def assert_close(left: Gaussian, right: Gaussian, tolerance: float) -> None:
    np.testing.assert_allclose(left.mu, right.mu, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(left.log_var, right.log_var, rtol=tolerance, atol=tolerance)


def leaves(given_: Experts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same experts as tensors that collect gradients."""
    mu, log_var = (torch.tensor(array, requires_grad=True) for array in (given_.mu, given_.log_var))
    return mu, log_var, torch.tensor(given_.present)


@both_libraries
@given(observed=experts(), order=st.randoms())
def test_order_of_experts_does_not_matter(library: str, observed: Experts, order: Random) -> None:
    shuffled = order.sample(range(len(observed.mu)), len(observed.mu))
    here = fuse(library, *observed)
    assert_close(fuse(library, *(array[shuffled] for array in observed)), here, 1e-12)


@both_libraries
@pytest.mark.parametrize("value", [0.0, 3.0, -500.0, math.inf, math.nan])
def test_no_expert_leaves_the_prior_exactly(library: str, value: float) -> None:
    values = np.full((3, 2, 4), value, np.float32)
    posterior = fuse(library, values, values, np.zeros((3, 2), bool))
    assert np.array_equal(posterior.mu, np.zeros((2, 4)))
    assert np.array_equal(posterior.log_var, np.zeros((2, 4)))


@both_libraries
@given(observed=experts(log_var=3, mu=3))
def test_product_agrees_with_densities_multiplied_on_a_grid(library: str, observed: Experts) -> None:
    z = np.linspace(-12, 12, 4001)[:, None, None, None]
    densities = np.exp(-((z - observed.mu) ** 2) / np.exp(observed.log_var) / 2)  # (Z, M, B, D)
    both = np.exp(-(z[:, 0] ** 2) / 2) * np.where(observed.present[..., None], densities, 1).prod(axis=1)
    both = both / both.sum(axis=0)
    mean = (both * z[:, 0]).sum(axis=0)
    variance = (both * (z[:, 0] - mean) ** 2).sum(axis=0)
    assert_close(fuse(library, *observed), Gaussian(mean, np.log(variance)), 1e-6)


@both_libraries
@given(observed=experts(log_var=500, mu=100, dtype=np.float32))
def test_posterior_is_finite_and_between_its_experts_at_every_scale(library: str, observed: Experts) -> None:
    posterior = fuse(library, *observed)
    seen = np.where(observed.present[..., None], observed.mu, 0)
    assert posterior.mu.dtype == posterior.log_var.dtype == np.float32
    assert np.isfinite(posterior.log_var).all()
    assert (posterior.mu >= np.minimum(seen.min(axis=0), 0) - 1e-4).all()
    assert (posterior.mu <= np.maximum(seen.max(axis=0), 0) + 1e-4).all()


@given(observed=experts(log_var=500, mu=100, dtype=np.float32))
def test_gradients_are_finite_at_every_scale(observed: Experts) -> None:
    mu, log_var, present = leaves(observed)
    posterior = product(Gaussian(mu, log_var), present)
    (posterior.mu.sum() + posterior.log_var.sum()).backward()
    assert mu.grad is not None
    assert log_var.grad is not None
    assert mu.grad.isfinite().all()
    assert log_var.grad.isfinite().all()


@given(observed=experts())
def test_gradients_agree_with_finite_differences(observed: Experts) -> None:
    mu, log_var, present = leaves(observed)

    def posterior(mu: torch.Tensor, log_var: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fused = product(Gaussian(mu, log_var), present)
        return fused.mu, fused.log_var

    assert torch.autograd.gradcheck(posterior, (mu, log_var))


@both_libraries
@given(observed=experts(), value=st.sampled_from([math.nan, math.inf, -math.inf, 1e300]))
def test_values_of_a_missing_expert_do_not_matter(library: str, observed: Experts, value: float) -> None:
    seen = observed.present[..., None]
    mu, log_var = (np.where(seen, array, value) for array in (observed.mu, observed.log_var))
    posterior, expected = fuse(library, mu, log_var, observed.present), fuse(library, *observed)
    assert np.array_equal(posterior.mu, expected.mu)
    assert np.array_equal(posterior.log_var, expected.log_var)


@given(observed=experts())
def test_a_missing_expert_gets_no_gradient_and_spoils_no_other(observed: Experts) -> None:
    mu, log_var, present = leaves(observed)
    gradients = []
    for missing in (0.0, math.nan):
        spoilt = [torch.where(present[..., None], leaf, missing) for leaf in (mu, log_var)]
        for tensor in spoilt:
            tensor.retain_grad()
        posterior = product(Gaussian(*spoilt), present)
        (posterior.mu.sum() + posterior.log_var.sum()).backward()
        gradients.append(torch.stack([tensor.grad for tensor in spoilt if tensor.grad is not None]))
    assert torch.equal(gradients[0], gradients[1])
    assert (gradients[1][:, ~present] == 0).all()


@given(observed=experts())
def test_numpy_agrees_with_torch(observed: Experts) -> None:
    assert_close(fuse("numpy", *observed), fuse("torch", *observed), 1e-12)


@given(observed=experts(log_var=500, dtype=np.float32))
def test_numpy_agrees_with_torch_in_single_precision(observed: Experts) -> None:
    assert_close(fuse("numpy", *observed), fuse("torch", *observed), 1e-5)


@both_libraries
@given(observed=experts())
def test_single_precision_agrees_with_double(library: str, observed: Experts) -> None:
    mu, log_var, present = observed
    single = fuse(library, mu.astype(np.float32), log_var.astype(np.float32), present)
    assert_close(single, fuse(library, mu, log_var, present), 2e-5)


@both_libraries
@given(observed=experts())
def test_fusing_all_subsets_at_once_is_fusing_each_alone(library: str, observed: Experts) -> None:
    n = len(observed.mu)
    subsets = (np.arange(2**n) >> np.arange(n)[:, None] & 1).astype(bool)  # (M, S)
    masks = observed.present[:, None] & subsets[..., None]  # (M, S, B)
    together = fuse(library, observed.mu[:, None], observed.log_var[:, None], masks)
    for s in range(2**n):
        alone = fuse(library, observed.mu, observed.log_var, masks[:, s])
        assert_close(Gaussian(together.mu[s], together.log_var[s]), alone, 1e-12)


@both_libraries
@given(observed=experts())
def test_every_expert_sharpens_the_posterior(library: str, observed: Experts) -> None:
    nobody_missing = np.ones_like(observed.present)
    sharper = fuse(library, observed.mu, observed.log_var, nobody_missing)
    assert (sharper.log_var <= fuse(library, *observed).log_var + 1e-12).all()
    assert (sharper.log_var <= np.minimum(observed.log_var.min(axis=0), 0) + 1e-12).all()


def pair(seed: int, *shape: int) -> tuple[NumpyArray, NumpyArray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, shape), rng.uniform(-4, 4, shape)


def of_torch(mu: NumpyArray, log_var: NumpyArray) -> Independent[Normal]:
    return Independent(Normal(torch.tensor(mu), torch.tensor(log_var / 2).exp()), 1)


@both_libraries
def test_kl_agrees_with_torch_distributions(library: str) -> None:
    to = LIBRARIES[library]
    p, q = pair(1, 7, 3), pair(2, 7, 3)
    divergence = Gaussian(*map(to, p)).kl(Gaussian(*map(to, q)))
    np.testing.assert_allclose(divergence, kl_divergence(of_torch(*p), of_torch(*q)), rtol=1e-10)


@both_libraries
def test_kl_from_itself_is_zero_and_from_the_prior_is_not(library: str) -> None:
    p = Gaussian(*map(LIBRARIES[library], pair(3, 5, 2)))
    assert np.array_equal(p.kl(p), np.zeros(5))
    assert (p.kl(standard_normal(p.mu)) > 0).all()


@both_libraries
def test_log_prob_agrees_with_scipy(library: str) -> None:
    to = LIBRARIES[library]
    (mu, log_var), (z, _) = pair(4, 7, 3), pair(5, 100, 7, 3)
    expected = stats.norm(mu, np.exp(log_var / 2)).logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(Gaussian(to(mu), to(log_var)).log_prob(to(z)), expected, rtol=1e-10)


@both_libraries
def test_standard_normal_has_the_density_of_the_prior(library: str) -> None:
    z = LIBRARIES[library](pair(6, 9, 2)[0])
    np.testing.assert_allclose(standard_normal(z).log_prob(z), -(z**2).sum(-1) / 2 - LOG_2PI, rtol=1e-12)


@both_libraries
def test_samples_have_the_mean_and_the_variance(library: str) -> None:
    to, n = LIBRARIES[library], 100_000
    mu, log_var = pair(7, 3)
    noise = np.random.default_rng(8).standard_normal((n, 3))
    z = np.asarray(Gaussian(to(mu), to(log_var)).sample(to(noise)))
    variance = np.exp(log_var)
    assert (np.abs(z.mean(axis=0) - mu) < 4 * np.sqrt(variance / n)).all()
    assert (np.abs(z.var(axis=0) - variance) < 4 * variance * math.sqrt(2 / n)).all()


def stacked(library: str, observed: Experts) -> tuple[Gaussian, Any]:
    to = LIBRARIES[library]
    return Gaussian(to(observed.mu), to(observed.log_var)), to(observed.present)


def contributions(given: Gaussian, present: Any) -> Any:
    return product_with_shares(given, present)[1]


@both_libraries
@given(observed=experts(log_var=3, mu=3))
def test_the_normaliser_is_the_integral_on_a_grid(library: str, observed: Experts) -> None:
    z = np.linspace(-12, 12, 4001)[:, None, None, None]
    densities = stats.norm(observed.mu, np.exp(observed.log_var / 2)).pdf(z)  # (Z, M, B, D)
    both = stats.norm.pdf(z[:, 0]) * np.where(observed.present[..., None], densities, 1).prod(axis=1)
    expected = np.log(both.sum(axis=0) * 24 / 4000).sum(axis=-1)
    np.testing.assert_allclose(log_normaliser(*stacked(library, observed)), expected, rtol=1e-5, atol=1e-5)


@both_libraries
@given(observed=experts(), order=st.randoms())
def test_the_normaliser_does_not_depend_on_the_order_of_experts(
    library: str, observed: Experts, order: Random
) -> None:
    places = order.sample(range(len(observed.mu)), len(observed.mu))
    shuffled = Experts(*(array[places] for array in observed))
    here = log_normaliser(*stacked(library, observed))
    np.testing.assert_allclose(log_normaliser(*stacked(library, shuffled)), here, rtol=1e-8, atol=1e-8)


@both_libraries
@given(observed=experts(log_var=500, mu=100))
def test_the_normaliser_is_finite_at_every_scale(library: str, observed: Experts) -> None:
    assert np.isfinite(np.asarray(log_normaliser(*stacked(library, observed)))).all()


@both_libraries
@given(observed=experts(), value=st.sampled_from([math.nan, math.inf, 1e300]))
def test_a_missing_expert_has_no_part_in_what_the_experts_say_together(
    library: str, observed: Experts, value: float
) -> None:
    seen = observed.present[..., None]
    mu, log_var = (np.where(seen, array, value) for array in (observed.mu, observed.log_var))
    spoilt = stacked(library, Experts(mu, log_var, observed.present))
    for measure in (log_normaliser, disagreement, contributions):
        assert np.array_equal(measure(*spoilt), measure(*stacked(library, observed)))
    shares = np.asarray(contributions(*spoilt))
    assert (shares[1:][~observed.present] == 0).all()


@both_libraries
@given(observed=experts())
def test_one_expert_or_none_cannot_disagree(library: str, observed: Experts) -> None:
    alone = observed.present.sum(axis=0) <= 1
    differences = np.asarray(disagreement(*stacked(library, observed)))[alone]
    np.testing.assert_allclose(differences, 0, atol=1e-12)  # both sides are rounded


@both_libraries
def test_experts_that_contradict_each_other_disagree_the_more_the_further_apart(library: str) -> None:
    distance = np.array([0.0, 1.0, 2.0, 4.0])
    mu = np.stack([distance, -distance])[..., None]
    pair_of = stacked(library, Experts(mu, np.full_like(mu, -2.0), np.ones((2, 4), bool)))
    measured = np.asarray(disagreement(*pair_of))
    assert measured[0] < 0 < measured[-1]
    assert (np.diff(measured) > 0).all()


@both_libraries
@given(observed=experts(log_var=500, mu=100))
def test_contributions_are_shares(library: str, observed: Experts) -> None:
    shares = np.asarray(contributions(*stacked(library, observed)))
    assert shares.shape == (len(observed.mu) + 1, *observed.present.shape[1:])
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-6)


@both_libraries
def test_a_contribution_is_the_share_of_the_precision(library: str) -> None:
    """Precisions 1 (the prior), 3 and 4."""
    log_var = -np.log([[[3.0]], [[4.0]]])
    shares = contributions(*stacked(library, Experts(np.zeros((2, 1, 1)), log_var, np.ones((2, 1), bool))))
    np.testing.assert_allclose(np.asarray(shares)[:, 0], [1 / 8, 3 / 8, 4 / 8])
