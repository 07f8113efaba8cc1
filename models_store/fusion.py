r"""The product of experts: one posterior from whatever was observed.

For a row with observed set :math:`A`,

.. math:: q(z \mid x_A) \propto p(z) \prod_{m \in A} q_m(z \mid x_m),
    \qquad p(z) = \mathcal N(0, I), \quad q_m(z \mid x_m) = \mathcal N(\mu_m, \operatorname{diag} \sigma_m^2)

Written against the array API standard, so that tensors (with gradients) and numpy arrays pass
through the same lines.

References:
    | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018)
    | https://arxiv.org/abs/1802.05335
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from array_api_compat import array_namespace

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    r"""A normal distribution with diagonal covariance, :math:`\mathcal N(\mu, \operatorname{diag} e^{\ell})`.

    Arguments:
        mu: The mean :math:`\mu`, with shape :math:`(*, D)`.
        log_var: The logarithm :math:`\ell` of the variance, with the same shape.
    """

    mu: Array
    log_var: Array

    def sample(self, noise: Array) -> Array:
        r"""Moves standard normal noise :math:`\epsilon` to :math:`\mu + e^{\ell / 2} \epsilon`.

        Arguments:
            noise: Draws from :math:`\mathcal N(0, I)`, of a shape that broadcasts with ``mu``.
        """
        xp = array_namespace(self.mu, noise)
        return self.mu + xp.exp(self.log_var / 2) * noise

    def log_prob(self, z: Array) -> Array:
        r"""The log-density at ``z``, in nats, summed over the last axis: shape :math:`(*)`."""
        xp = array_namespace(self.mu, z)
        # Scaled before it is squared: the precision itself may be beyond float32.
        squared = ((z - self.mu) * xp.exp(-self.log_var / 2)) ** 2
        return -xp.sum(squared + self.log_var + LOG_2PI, axis=-1) / 2

    def kl(self, other: Gaussian) -> Array:
        r"""The divergence :math:`KL(self \,\|\, other)`, in nats, summed over the last axis."""
        xp = array_namespace(self.mu, other.mu)
        ratio = self.log_var - other.log_var
        squared = ((self.mu - other.mu) * xp.exp(-other.log_var / 2)) ** 2
        return xp.sum(squared + xp.exp(ratio) - 1 - ratio, axis=-1) / 2


def standard_normal(like: Array) -> Gaussian:
    r"""The prior :math:`p(z) = \mathcal N(0, I)` with the shape of ``like``."""
    zeros = array_namespace(like).zeros_like(like)
    return Gaussian(mu=zeros, log_var=zeros)


def product(experts: Gaussian, present: Array) -> Gaussian:
    r"""Multiplies the standard normal prior, once, with one expert per observed modality.

    Precisions add up: :math:`\sigma^{-2} = 1 + \sum_{m \in A} \sigma_m^{-2}`. They are summed relative to
    the largest, so that log-variances up to :math:`\pm 500` stay finite in float32. A missing expert has
    weight zero, whatever its values (NaN too); a row with nothing observed is the prior, exactly.

    Arguments:
        experts: The experts :math:`q_m(z \mid x_m)`, with shape :math:`(M, *, D)`.
        present: Which modality is observed in which row, with shape :math:`(M, *)`. Broadcasts with the
            experts, so that many subsets of the same experts are fused at once.

    Returns:
        The posterior :math:`q(z \mid x_A)`, with shape :math:`(*, D)`.
    """
    xp = array_namespace(experts.mu, experts.log_var)
    observed = present[..., None]
    largest = xp.max(xp.where(observed, -experts.log_var, -math.inf), axis=0)
    largest = xp.where(largest > 0, largest, 0.0)  # the prior's log-precision is 0
    # Inside, a missing expert is replaced by a finite value: what is not chosen must not spoil the gradient.
    exponent = xp.where(observed, -experts.log_var - largest, 0.0)
    weights = xp.where(observed, xp.exp(exponent), 0.0)
    total = xp.sum(weights, axis=0) + xp.exp(-largest)
    mu = xp.sum(weights * xp.where(observed, experts.mu, 0.0), axis=0) / total
    return Gaussian(mu=mu, log_var=0 - (largest + xp.log(total)))
