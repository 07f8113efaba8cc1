"""Posteriors of linear models: products of normal experts with a full covariance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch.distributions import MultivariateNormal, kl_divergence

from models_store import linear as linear_module
from models_store.evidence import Question, Target
from models_store.fusion import Gaussian, standard_normal
from models_store.likelihoods import FAMILIES, Parameters
from models_store.linear import EncoderOutput, Experts, LinearModels, Posterior, natural_size
from models_store.members import Members
from tests.models_store.evidence.scoring import score
from tests.models_store.examples import NumpyArray

K, VIEWS, COLUMNS, ROWS = 3, 4, 2, 30
MIXTURE = Members(K, (0.3, 0.5, 0.2))
MODELS = LinearModels(MIXTURE, 2)
BLOCKS = [MIXTURE.block(member) for member in (1, 2)]
RNG = np.random.default_rng(8)
LOADINGS = RNG.standard_normal((2, VIEWS, COLUMNS, K))
VARIANCE = RNG.uniform(0.2, 1.0, (2, VIEWS, COLUMNS))
X = RNG.standard_normal((ROWS, VIEWS, COLUMNS)) * 1.5
PRESENT = RNG.random((VIEWS, ROWS)) < 0.6
PRESENT[:, 0], PRESENT[:, 1] = False, True


def natural(view: int) -> NumpyArray:
    """Natural parameters of the experts of a view whose cells are all observed, of both models."""
    parts = []
    for loadings, variance in zip(LOADINGS[:, view], VARIANCE[:, view], strict=True):
        weighted = loadings / variance[:, None]
        triangle = (weighted.T @ loadings)[np.tril_indices(K)]
        parts += [X[:, view] @ weighted, np.tile(triangle, (ROWS, 1))]
    return np.concatenate(parts, axis=1).astype(np.float32)


def experts(models: LinearModels | None = MODELS) -> Experts:
    """Diagonal experts that say something else, and the natural parameters."""
    rng = np.random.default_rng(1)
    shape = (2, ROWS, MIXTURE.joint_dimension)
    drawn = [rng.standard_normal(shape).astype(np.float32) for _ in range(VIEWS)]
    parts = [EncoderOutput(mu, log_var, natural(view)) for view, (mu, log_var) in enumerate(drawn)]
    return Experts.of(parts, PRESENT, models)


def exact(model: int, row: int, powers: NumpyArray | None = None) -> tuple[NumpyArray, NumpyArray]:
    """Mean and covariance of z given the views of a row, of the joint normal distribution of z and cells."""
    views = np.flatnonzero(PRESENT[:, row])
    w = LOADINGS[model, views].reshape(-1, K)
    weight = 1.0 if powers is None else np.repeat(powers[views], COLUMNS)
    noise = VARIANCE[model, views].ravel() / weight
    gain = w.T @ np.linalg.inv(w @ w.T + np.diag(noise))
    return gain @ X[row, views].ravel(), np.eye(K) - gain @ w


@pytest.mark.parametrize("at_once", [1, 10**6], ids=["row by row", "together"])
def test_the_posterior_is_the_conditional_distribution(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_module, "NUMBERS_AT_ONCE", at_once)
    posterior = experts().product()
    assert posterior.factor is not None
    for row, (model, block) in itertools.product(range(ROWS), enumerate(BLOCKS)):
        mean, covariance = exact(model, row)
        std = np.exp(posterior.log_var[row, block] / 2)
        tied = posterior.factor[row, model] * std[:, None]
        np.testing.assert_allclose(posterior.mu[row, block], mean, atol=2e-5)
        np.testing.assert_allclose(tied @ tied.T, covariance, atol=2e-5)


def test_other_dimensions_have_the_product_of_diagonal_experts() -> None:
    posterior, independent = experts().product(), experts(None).product()
    others = np.delete(np.arange(MIXTURE.joint_dimension), MODELS.block)
    np.testing.assert_array_equal(posterior.mu[:, others], independent.mu[:, others])
    np.testing.assert_array_equal(posterior.log_var[:, others], independent.log_var[:, others])
    assert independent.factor is None


def test_an_expert_to_a_power_has_its_noise_divided_by_it() -> None:
    powers = np.array([1.0, 0.5, 0.1, 1.0])
    posterior = experts().product(powers=np.tile(powers[:, None], (1, ROWS)))
    for row, (model, block) in itertools.product(range(ROWS), enumerate(BLOCKS)):
        mean, covariance = exact(model, row, powers)
        np.testing.assert_allclose(posterior.mu[row, block], mean, atol=2e-5)
        np.testing.assert_allclose(np.exp(posterior.log_var[row, block]), np.diagonal(covariance), atol=2e-5)


def test_draws_have_the_covariance_of_the_posterior() -> None:
    posterior = experts().product().of(slice(1, 3))
    noise = np.random.default_rng(2).standard_normal((2, 200_000, MIXTURE.joint_dimension), np.float32)
    z = posterior.sample(noise)
    for row, (model, block) in itertools.product(range(2), enumerate(BLOCKS)):
        mean, covariance = exact(model, 1 + row)
        np.testing.assert_allclose(z[row, :, block].mean(axis=0), mean, atol=0.01)
        np.testing.assert_allclose(np.cov(z[row, :, block].T), covariance, atol=0.01)
    assert abs(np.corrcoef(z[0, :, BLOCKS[0]].T, z[0, :, BLOCKS[1]].T)[:K, K:]).max() < 0.01


def test_the_divergence_from_the_prior_is_that_of_torch() -> None:
    posterior = experts().product()
    total = posterior.within(slice(0, K)).kl_from_prior()
    total += posterior.within(slice(3 * K, 3 * K + 1)).kl_from_prior()
    for block in BLOCKS:
        one = posterior.within(block)
        assert one.factor is not None
        std = np.exp(one.log_var / 2)
        tied = torch.from_numpy(std[:, :, None] * one.factor[:, 0]).double()
        of_torch = MultivariateNormal(torch.from_numpy(one.mu).double(), scale_tril=tied)
        prior = MultivariateNormal(torch.zeros(K).double(), torch.eye(K).double())
        divergence = kl_divergence(of_torch, prior)
        np.testing.assert_allclose(one.kl_from_prior(), divergence, rtol=1e-3, atol=1e-5)
        total += one.kl_from_prior()
    np.testing.assert_allclose(posterior.kl_from_prior(), total, rtol=1e-5)


def test_a_score_given_views_is_the_density_of_the_joint_normal_distribution() -> None:
    """log p(x_T | x_S) of all models; the first, with independent dimensions, by a closed form, too."""
    given = experts().product()
    given.mu[:, -1], given.log_var[:, -1] = 0.0, 0.0
    weights, noise = RNG.standard_normal((3, 5, K)), 0.5
    x = RNG.standard_normal((ROWS, 5))

    def decode(z: NumpyArray) -> Parameters:
        member = MIXTURE.selected(z)
        every = np.stack([z[:, MIXTURE.block(k)] @ weights[k].T for k in range(3)])
        loc = every[member, np.arange(len(z))]
        return {"loc": loc, "log_scale": np.full_like(loc, np.log(noise))}

    log_probs = np.zeros((3, ROWS))
    for row in range(ROWS):
        independent = given.mu[row, :K], np.diag(np.exp(given.log_var[row, :K]))
        for k, (mean, covariance) in enumerate([independent, exact(0, row), exact(1, row)]):
            spread = weights[k] @ covariance @ weights[k].T + noise**2 * np.eye(5)
            log_probs[k, row] = multivariate_normal(weights[k] @ mean, spread).logpdf(x[row])
    truth = logsumexp(log_probs, axis=0, b=np.array(MIXTURE.weights)[:, None])
    posterior = Posterior(given.mu, given.log_var - 1, given.factor, given.block)
    target = Target("x", FAMILIES["normal"](), x, np.ones(ROWS, bool))
    estimate = score(Question(given, posterior, [target], MIXTURE), decode, draws=3000, dimension=K)
    np.testing.assert_allclose(estimate.log_prob, truth, atol=0.05)


def test_the_first_draws_do_not_depend_on_their_number() -> None:
    posterior = experts().product()
    noise = np.random.default_rng(2).standard_normal((ROWS, 100, MIXTURE.joint_dimension), np.float32)
    for count in (1, 2, 5):
        assert np.array_equal(posterior.sample(noise[:, :count]), posterior.sample(noise)[:, :count])


def test_rows_of_no_normal_distribution_have_no_draws_and_leave_others_alone() -> None:
    """Negative and infinite precisions, as a broken graph may give them."""
    whole = natural(0)
    broken = whole.copy()
    broken[3, K:], broken[5, K], broken[7, -1] = np.nan, -50.0, np.inf
    prior = Gaussian(*np.zeros((2, ROWS, MIXTURE.joint_dimension), np.float32))
    expected, posterior = MODELS.posterior(prior, whole), MODELS.posterior(prior, broken)
    others = np.setdiff1d(np.arange(ROWS), [3, 5, 7])
    assert np.array_equal(posterior.mu[others], expected.mu[others])
    assert posterior.factor is not None
    assert not np.isfinite(posterior.factor[[3, 5, 7]]).all(axis=(1, 2, 3)).any()


def test_experts_that_lack_their_natural_parameters_are_refused() -> None:
    parts = [EncoderOutput(*np.zeros((2, ROWS, MIXTURE.joint_dimension), np.float32)) for _ in range(2)]
    with pytest.raises(ValueError, match="1 of 2 experts lack 'natural'"):
        Experts.of([parts[0]._replace(natural=natural(0)), parts[1]], PRESENT[:2], MODELS)


def test_without_experts_the_posterior_is_the_prior() -> None:
    prior = standard_normal(np.zeros((2, MIXTURE.joint_dimension), np.float32))
    posterior = MODELS.posterior(Gaussian(*prior), np.zeros((2, 2 * natural_size(K)), np.float32))
    np.testing.assert_array_equal(posterior.mu, 0)
    np.testing.assert_array_equal(posterior.kl_from_prior(), 0)
    assert posterior.factor is not None
    np.testing.assert_array_equal(posterior.factor, np.broadcast_to(np.eye(K), (2, 2, K, K)))
