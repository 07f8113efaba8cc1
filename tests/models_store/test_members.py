"""Several models in one latent space, and the score of their mixture."""

from __future__ import annotations

import math
import re
from functools import partial
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from models_store.evidence import Question, Target
from models_store.fusion import Gaussian
from models_store.likelihoods import FAMILIES, Parameters
from models_store.linear import Posterior
from models_store.members import Members
from tests.models_store.evidence.scoring import score
from tests.models_store.examples import NumpyArray

RNG = np.random.default_rng(3)
WEIGHTS = RNG.standard_normal((3, 5, 2))
SHIFTS = np.array([-1.0, 0.0, 2.0])
NOISE = 0.5


@pytest.mark.parametrize("members", [2, 3, 16])
@pytest.mark.parametrize("dimension", [1, 4])
def test_each_member_has_its_part_of_z(members: int, dimension: int) -> None:
    joint = members * dimension + 1
    mixture = Members.of(joint, members)
    assert (mixture.dimension, mixture.joint_dimension) == (dimension, joint)
    places = [range(joint)[mixture.block(k)] for k in range(members)]
    assert [index for place in places for index in place] == [*range(joint - 1)]


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.2, 0.3, 0.5], [0.01, 0.99], [1 / 16] * 16])
def test_each_member_has_its_weight_under_the_prior(weights: list[float]) -> None:
    mixture = Members(1, weights)
    bounds = [-math.inf, *mixture.edges, math.inf]
    normal = NormalDist()
    for (low, high), weight, centre in zip(pairwise(bounds), weights, mixture.centres, strict=True):
        assert normal.cdf(high) - normal.cdf(low) == pytest.approx(weight)
        assert low < centre < high


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.2, 0.3, 0.5], [0.08, 0.92], [1 / 3] * 3])
def test_the_first_draws_are_of_each_member_by_its_weight(weights: list[float]) -> None:
    turns = np.array(Members(1, weights).turns(200))
    assert np.array_equal(Members(1, weights).turns(7), turns[:7])
    for draws in (1, 5, 20, 100, 200):
        counts = np.bincount(turns[:draws], minlength=len(weights))
        assert np.abs(counts - draws * np.array(weights)).max() < 1


def test_members_of_equal_weight_draw_in_turn() -> None:
    assert [*Members(1, [1 / 3] * 3).turns(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_a_draw_is_of_one_member_for_all_rows() -> None:
    mixture = Members.of(5, 2, [0.25, 0.75])
    z = RNG.standard_normal((3, 8, 5))
    drawn = mixture.one_a_draw(z)
    assert np.array_equal(drawn[..., :-1], z[..., :-1])
    assert np.array_equal(mixture.selected(drawn), np.tile(mixture.turns(8), (3, 1)))
    assert mixture.selected(drawn).sum(axis=1).tolist() == [6] * 3


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([1.0], "weights has 1 numbers, but there are 2 members"),
        ([0.5, 0.4], "weights must be at least 0.001 each and sum to 1, got [0.5, 0.4]"),
        ([1.0, 0.0], "weights must be at least 0.001 each and sum to 1, got [1.0, 0.0]"),
        ([math.nan, 0.5], "weights must be at least 0.001 each and sum to 1"),
    ],
)
def test_weights_that_are_none_of_the_members_are_refused(weights: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Members.of(5, 2, weights)


@pytest.mark.parametrize(("joint", "members"), [(4, 2), (1, 2), (9, 3), (0, 1)])
def test_other_latent_dimensions_are_of_no_ensemble(joint: int, members: int) -> None:
    with pytest.raises(ValueError, match=f"latent_dim is {joint}"):
        Members.of(joint, members)


@pytest.mark.parametrize("weights", [(1 / 3,) * 3, (0.2, 0.1, 0.7)])
def test_a_mixture_is_scored_as_the_weighted_mean_of_the_densities_of_its_members(
    weights: tuple[float, ...],
) -> None:
    """Each member is linear and Gaussian: x = W_k z_k + s_k + .5 e, whose density is known."""
    x = RNG.standard_normal((12, 5)) + SHIFTS[RNG.integers(3, size=12), None]
    given = Gaussian(RNG.standard_normal((12, 7)) / 3, np.full((12, 7), -0.5))
    given.mu[:, -1], given.log_var[:, -1] = 0.0, 0.0
    posterior = Gaussian(given.mu + 0.3, given.log_var - 1)
    mixture = Members(2, weights)
    densities = [density(k, x, given) for k in range(3)]
    truth = logsumexp(densities, axis=0, b=np.array(weights)[:, None])
    target = Target("x", FAMILIES["normal"](), x, np.ones(12, bool))
    question = Question(Posterior(*given), Posterior(*posterior), [target], mixture)
    estimate = score(question, partial(selected, mixture), draws=3000, dimension=2)
    np.testing.assert_allclose(estimate.log_prob, truth, atol=0.05)
    assert (np.abs(estimate.log_prob - truth) < 4 * estimate.std_error + 1e-9).all()
    assert estimate.reliable.all()
    assert estimate.ess.min() > 500


def density(member: int, x: NumpyArray, given: Gaussian) -> NumpyArray:
    """log N(x; W mu + s, W diag(sigma²) W' + .25 I) of one member, by row."""
    weight, part = WEIGHTS[member], slice(2 * member, 2 * member + 2)
    return np.array(
        [
            multivariate_normal(
                weight @ mu[part] + SHIFTS[member],
                weight * np.exp(log_var[part]) @ weight.T + NOISE**2 * np.eye(5),
            ).logpdf(row)
            for row, mu, log_var in zip(x, given.mu, given.log_var, strict=True)
        ]
    )


def selected(mixture: Members, z: NumpyArray) -> Parameters:
    """The decoder of the member that u chooses."""
    member = np.digitize(z[:, -1], mixture.edges)
    blocks = z[:, :-1].reshape(len(z), 3, 2)[np.arange(len(z)), member]
    loc = np.einsum("npd,nd->np", WEIGHTS[member], blocks) + SHIFTS[member, None]
    return {"loc": loc, "log_scale": np.full_like(loc, math.log(NOISE))}


def test_points_of_a_member_are_decoded_by_that_member() -> None:
    z, mixture = RNG.standard_normal((4, 3, 2)), Members(2, (0.2, 0.1, 0.7))
    for k in range(3):
        points = mixture.placed(z, k)
        assert points.shape == (4, 3, 7)
        expected = z.reshape(-1, 2) @ WEIGHTS[k].T + SHIFTS[k]
        np.testing.assert_allclose(selected(mixture, points.reshape(-1, 7))["loc"], expected)
