"""Scores against integrals that are known: in closed form, or on a grid of z."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from models_store.evidence import Evidence, Question, Target, plain
from models_store.fusion import Gaussian, standard_normal
from models_store.likelihoods import FAMILIES, Parameters
from models_store.linear import Posterior
from tests.models_store.evidence.scoring import Decoder, normal, question, score
from tests.models_store.examples import NumpyArray
from tests.models_store.test_likelihoods import ELEMENTWISE

RNG = np.random.default_rng(5)
WEIGHT = RNG.standard_normal((9, 6))
NOISE = 0.4


def linear(z: NumpyArray) -> Parameters:
    """x = W z + .4 e."""
    loc = z @ WEIGHT.T
    return {"loc": loc, "log_scale": np.full_like(loc, math.log(NOISE))}


def linear_rows(n: int) -> NumpyArray:
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, 6)) @ WEIGHT.T + NOISE * rng.standard_normal((n, 9))


def closed_form(x: NumpyArray, given: Gaussian) -> NumpyArray:
    """log N(x; W mu, W diag(sigma²) W' + diag(s²)) per row."""
    return np.array(
        [
            multivariate_normal(
                WEIGHT @ mu, WEIGHT * np.exp(log_var) @ WEIGHT.T + NOISE**2 * np.eye(9)
            ).logpdf(row)
            for row, mu, log_var in zip(x, given.mu, given.log_var, strict=True)
        ]
    )


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("off", [0.0, 3.0])
def test_a_linear_gaussian_model_is_scored_nearly_without_error(conditional: bool, off: float) -> None:
    """However far off the encoders are: the curvature is exact, so all weights of the peak are alike."""
    x = linear_rows(20)
    given = (
        normal(RNG.standard_normal((20, 6)) / 2, 0.7) if conditional else standard_normal(np.zeros((20, 6)))
    )
    posterior = normal(given.mu + off, 0.05)
    estimate = score(question("normal", x, given, posterior), linear)
    np.testing.assert_allclose(estimate.log_prob, closed_form(x, given), atol=0.06)
    assert (np.abs(estimate.log_prob - closed_form(x, given)) < 4 * estimate.std_error).all()
    assert estimate.ess.min() > 500
    assert estimate.reliable.all()


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """400 repeats of one row of a decoder that bends; neither too short, nor too long."""
    x = np.full((400, 1), 1.7)
    estimate = score(question("normal", x, *priors(400, 1)), curved)
    truth = on_a_grid(x[0], "normal", curved, 0.0, 1.0)
    deviations = np.abs(estimate.log_prob - truth) / estimate.std_error
    assert 0.92 <= (deviations < 1.96).mean() <= 0.98
    assert 0.44 <= (deviations < 0.674).mean() <= 0.56


def curved(z: NumpyArray) -> Parameters:
    loc = np.where(z > 0, 1.5 * z, 0.5 * z) + 0.05 * z**3
    return {"loc": loc[:, :1], "log_scale": np.full_like(loc[:, :1], -0.5)}


def priors(n: int, dimension: int) -> tuple[Gaussian, Gaussian]:
    """No condition, and encoders that know little."""
    zero = np.zeros((n, dimension))
    return standard_normal(zero), normal(zero + 0.3, 0.6)


def on_a_grid(x: Any, family: str, decoder: Decoder, mu: float, std: float) -> float:
    """The logarithm of the integral over one dimension of z."""
    z = np.linspace(-9, 9, 40_001)
    values = FAMILIES[family]().row_log_prob(np.asarray(x)[None], decoder(z[:, None]))
    return float(logsumexp(values + norm.logpdf(z, mu, std)) + math.log(z[1] - z[0]))


STEPS = np.array([0.7, -1.1, 0.4])
DECODERS: dict[str, tuple[Decoder, Any]] = {
    "normal": (
        lambda z: {"loc": (z + 0.1 * z**2) * STEPS, "log_scale": -1 + 0.3 * z + 0 * STEPS},
        [0.5, -0.6, math.nan],
    ),
    "laplace": (lambda z: {"loc": z * STEPS, "log_scale": -0.5 - 0.2 * z + 0 * STEPS}, [0.5, -0.1, 0.9]),
    "student_t": (
        lambda z: {"loc": z * STEPS, "log_scale": -1 + 0 * z * STEPS, "log_df": 1 + 0.1 * z + 0 * STEPS},
        [0.7, -0.9, 0.4],
    ),
    "log_normal": (
        lambda z: {"loc": z * STEPS, "log_scale": -1 + 0.3 * z + 0 * STEPS},
        [1.6, 0.6, math.nan],
    ),
    "bernoulli": (lambda z: {"logits": 3 * z * STEPS + 1}, [1.0, 0.25, 0.0]),
    "categorical": (lambda z: {"logits": 2 * z * STEPS}, 1),
    "poisson": (lambda z: {"log_rate": z * STEPS + 1}, [4.0, 0.0, 3.0]),
    "negative_binomial": (
        lambda z: {"log_mean": z * STEPS + 1, "log_total_count": 0.2 * z + 0 * STEPS},
        [7.0, 0.0, 3.0],
    ),
    "zero_inflated": (
        lambda z: {
            "log_mean": z * STEPS + 1,
            "log_total_count": 0.2 * z + 0 * STEPS,
            "zero_logit": 0.3 * z + 0 * STEPS,
        },
        [7.0, 0.0, 3.0],
    ),
}


@pytest.mark.parametrize("family", ELEMENTWISE)
@pytest.mark.parametrize(("mu", "std"), [(0.0, 1.0), (0.4, 0.5)], ids=["alone", "given"])
def test_every_family_is_scored_as_its_integral_on_a_grid(family: str, mu: float, std: float) -> None:
    decoder, value = DECODERS[family]
    x = np.array([value] * 12, np.int64 if family == "categorical" else np.float64)
    given = normal(np.full((12, 1), mu), std)
    posterior = normal(np.full((12, 1), mu + 0.1), 0.7 * std)
    estimate = score(question(family, x, given, posterior), decoder, draws=2000)
    truth = on_a_grid(x[0], family, decoder, mu, std)
    judged = estimate.reliable
    assert judged.mean() > 0.8
    assert (np.abs(estimate.log_prob - truth) < 4.5 * estimate.std_error)[judged].all()
    assert estimate.log_prob == pytest.approx(truth, abs=0.05)
    assert estimate.log_prob.mean() == pytest.approx(truth, abs=0.02)


def test_a_second_mode_is_found_by_the_prior_and_costs_the_claim_to_be_reliable() -> None:
    """z is near 1.5 or -1.5; the search ends in one mode, and the prior's draws find the other."""

    def both(z: NumpyArray) -> Parameters:
        return {"loc": np.abs(z), "log_scale": np.full_like(z, -2.0)}

    x = np.full((200, 1), 1.5)
    estimate = score(question("normal", x, *priors(200, 1)), both)
    truth = on_a_grid(x[0], "normal", both, 0.0, 1.0)
    assert np.exp(estimate.log_prob - truth).mean() == pytest.approx(1, abs=0.05)
    assert not estimate.reliable.any()


def test_two_dimensions_and_two_targets_are_the_integral_on_a_grid() -> None:
    def ring(z: NumpyArray) -> Parameters:
        loc = np.stack([np.hypot(z[:, 0], z[:, 1]), z[:, 0] * z[:, 1]], axis=1)
        return {"loc": loc, "log_scale": np.full_like(loc, -0.7)}

    def sides(z: NumpyArray) -> Parameters:
        return {"logits": np.stack([z[:, 0], -z[:, 0], z[:, 1]], axis=1) * 2}

    x, label = np.array([[1.2, 0.4]]), np.array([2])
    targets = [
        Target("ring", FAMILIES["normal"](), x, np.ones(1, bool)),
        Target("side", FAMILIES["categorical"](), label, np.ones(1, bool)),
    ]
    given, posterior = (Posterior(*prior) for prior in priors(1, 2))
    estimate = score(Question(given, posterior, targets), {"ring": ring, "side": sides}, draws=20_000)
    line = np.linspace(-6, 6, 801)
    z = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    values = norm.logpdf(z).sum(axis=1) + FAMILIES["normal"]().row_log_prob(x, ring(z))
    values = values + FAMILIES["categorical"]().row_log_prob(label, sides(z))
    truth = logsumexp(values) + 2 * math.log(line[1] - line[0])
    assert float(estimate.log_prob[0]) == pytest.approx(truth, abs=4 * float(estimate.std_error[0]))
    assert estimate.std_error[0] < 0.05


def test_probabilities_of_all_labels_sum_up_to_one() -> None:
    def decoder(z: NumpyArray) -> Parameters:
        return {"logits": 3 * np.sin(z @ np.arange(20.0).reshape(4, 5))}

    labels = np.arange(5)
    given = normal(np.tile(RNG.standard_normal(4), (5, 1)), 0.5)
    posterior = normal(given.mu + 0.2, 0.4)
    estimate = score(question("categorical", labels, given, posterior), decoder, draws=4000)
    assert np.exp(estimate.log_prob).sum() == pytest.approx(1, abs=0.02)


def test_a_row_without_a_target_or_without_a_cell_scores_exactly_0() -> None:
    x = linear_rows(3)
    x[2] = math.nan
    scored = question("normal", x, *priors(3, 6), present=np.array([True, False, True]))
    estimate = score(scored, linear)
    assert estimate.log_prob[1:].tolist() == [0, 0]
    np.testing.assert_allclose(estimate.std_error[1:], 0, atol=1e-12)
    assert estimate.reliable.all()
    assert estimate.log_prob[0] != 0


def one(scored: Question, row: int) -> Question:
    """A question about one row."""
    rows = slice(row, row + 1)
    targets = [Target(t.name, t.family, t.x[rows], t.present[rows]) for t in scored.targets]
    given, posterior = scored.given.of(rows), scored.posterior.of(rows)
    return Question(given, posterior, targets)


def test_a_row_has_the_same_score_alone_in_company_and_in_other_portions() -> None:
    x = np.random.default_rng(3).normal(1, 1.5, (6, 1))
    scored = question("normal", x, *priors(6, 1))
    together = score(scored, curved).log_prob
    for at_once in (1, 7, 5000):
        assert np.array_equal(score(scored, curved, at_once=at_once).log_prob, together)
    assert score(one(scored, 0), curved).log_prob[0] == together[0]
    assert not np.array_equal(score(scored, curved, seed=1).log_prob, together)


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_no_more_points_of_a_row_are_decoded_at_once_than_allowed(at_once: int) -> None:
    decoded: list[int] = []

    def counted(z: NumpyArray) -> Parameters:
        decoded.append(len(z))
        return linear(z)

    score(question("normal", linear_rows(3), *priors(3, 6)), counted, at_once=at_once)
    assert max(decoded) <= 3 * at_once
    assert sum(decoded) < 3 * (1000 + 100)


def estimated_from(scored: Question, draws: int, **options: Any) -> tuple[Evidence, int]:
    """The estimate, and the number of decoded points."""
    decoded: list[int] = []

    def counted(z: NumpyArray) -> Parameters:
        decoded.append(len(z))
        return linear(z)

    return score(scored, counted, draws, **options), sum(decoded)


def test_a_latent_space_that_is_large_for_the_draws_keeps_to_the_encoders() -> None:
    """Six dimensions are searched with 24 draws, not with 23; the estimate is right in either case."""
    x, (given, _) = linear_rows(400), priors(400, 6)
    gain = np.linalg.inv(np.eye(6) + WEIGHT.T @ WEIGHT / NOISE**2)
    posterior = normal(x @ WEIGHT @ gain / NOISE**2, np.sqrt(np.diag(gain)))
    scored = question("normal", x, given, posterior)
    fitted, many = estimated_from(scored, 24)
    kept, few = estimated_from(scored, 23)
    assert (few, many > 400 * 30) == (400 * 23, True)
    truth = closed_form(x, given)
    assert np.exp(kept.log_prob - truth).mean() == pytest.approx(1, abs=0.25)
    assert np.exp(fitted.log_prob - truth).mean() == pytest.approx(1, abs=0.05)


def test_a_decoder_that_is_not_finite_somewhere_is_scored_from_the_encoders() -> None:
    def broken(z: NumpyArray) -> Parameters:
        parameters = linear(z)
        return {**parameters, "loc": np.where(z[:, :1] > 0.6, np.nan, parameters["loc"])}

    x = linear_rows(2)
    estimate = score(
        question("normal", x, standard_normal(np.zeros((2, 6))), normal(np.full((2, 6), 0.59), 0.1)), broken
    )
    assert not estimate.reliable.any()


def test_plain_proposals_are_the_encoders_posterior_alone() -> None:
    """As in MultiVae: where it is much too narrow, the estimate is nats too low and says so."""
    x, given = linear_rows(20), standard_normal(np.zeros((20, 6)))
    gain = np.linalg.inv(np.eye(6) + WEIGHT.T @ WEIGHT / NOISE**2)
    posterior = normal(x @ WEIGHT @ gain / NOISE**2, 0.2 * np.sqrt(np.diag(gain)))
    estimate, decoded = estimated_from(question("normal", x, given, posterior), 1000, propose=plain)
    assert decoded == 20_000
    assert (estimate.log_prob - closed_form(x, given)).mean() < -1
    assert not estimate.reliable.any()
    assert np.isnan(estimate.std_error).all()


def test_a_row_far_from_the_model_gets_a_score_of_which_seeds_differ_only_within_its_error() -> None:
    x = np.full((30, 9), 25.0) * np.sign(RNG.standard_normal(9))
    scored = question("normal", x, *priors(30, 6))
    first, second = (score(scored, linear, seed=seed) for seed in (1, 2))
    both = first.reliable & second.reliable
    apart = np.abs(first.log_prob - second.log_prob)
    assert (apart < 4 * np.hypot(first.std_error, second.std_error))[both].all()
