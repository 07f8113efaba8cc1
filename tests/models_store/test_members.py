"""Several models in one latent space, and the score of their mixture."""

from __future__ import annotations

import math
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
from models_store.members import block, centre, edges, joint_dimension, member_dimension, placed
from tests.models_store.evidence.scoring import score
from tests.models_store.examples import NumpyArray

RNG = np.random.default_rng(3)
WEIGHTS = RNG.standard_normal((3, 5, 2))
SHIFTS = np.array([-1.0, 0.0, 2.0])
NOISE = 0.5


@pytest.mark.parametrize("members", [2, 3, 16])
@pytest.mark.parametrize("dimension", [1, 4])
def test_each_member_has_its_part_of_z(members: int, dimension: int) -> None:
    joint = joint_dimension(dimension, members)
    assert member_dimension(joint, members) == dimension
    places = [range(joint)[block(k, joint, members)] for k in range(members)]
    assert [index for place in places for index in place] == [*range(joint - 1)]


@pytest.mark.parametrize("members", [2, 3, 16])
def test_each_member_is_as_probable_under_the_prior(members: int) -> None:
    bounds = [-math.inf, *edges(members), math.inf]
    normal = NormalDist()
    for k, (low, high) in enumerate(pairwise(bounds)):
        assert normal.cdf(high) - normal.cdf(low) == pytest.approx(1 / members)
        assert low < centre(k, members) < high


@pytest.mark.parametrize(("joint", "members"), [(4, 2), (1, 2), (9, 3), (0, 1)])
def test_other_latent_dimensions_are_of_no_ensemble(joint: int, members: int) -> None:
    with pytest.raises(ValueError, match=f"latent_dim is {joint}"):
        member_dimension(joint, members)


def test_a_mixture_is_scored_as_the_mean_of_the_densities_of_its_members() -> None:
    """Each member is linear and Gaussian: x = W_k z_k + s_k + .5 e, whose density is known."""
    x = RNG.standard_normal((12, 5)) + SHIFTS[RNG.integers(3, size=12), None]
    given = Gaussian(RNG.standard_normal((12, 7)) / 3, np.full((12, 7), -0.5))
    given.mu[:, -1], given.log_var[:, -1] = 0.0, 0.0
    posterior = Gaussian(given.mu + 0.3, given.log_var - 1)
    truth = logsumexp([density(k, x, given) for k in range(3)], axis=0) - math.log(3)
    target = Target("x", FAMILIES["normal"](), x, np.ones(12, bool))
    mixture = Question(Posterior(*given), Posterior(*posterior), [target], members=3)
    estimate = score(mixture, selected, draws=3000, dimension=2)
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


def selected(z: NumpyArray) -> Parameters:
    """The decoder of the member that u chooses."""
    member = np.digitize(z[:, -1], edges(3))
    blocks = z[:, :-1].reshape(len(z), 3, 2)[np.arange(len(z)), member]
    loc = np.einsum("npd,nd->np", WEIGHTS[member], blocks) + SHIFTS[member, None]
    return {"loc": loc, "log_scale": np.full_like(loc, math.log(NOISE))}


def test_points_of_a_member_are_decoded_by_that_member() -> None:
    z = RNG.standard_normal((4, 3, 2))
    for k in range(3):
        points = placed(z, k, 3)
        assert points.shape == (4, 3, 7)
        expected = z.reshape(-1, 2) @ WEIGHTS[k].T + SHIFTS[k]
        np.testing.assert_allclose(selected(points.reshape(-1, 7))["loc"], expected)
