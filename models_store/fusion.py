r"""The product of experts: one posterior from the observed modalities.

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
from functools import reduce
from operator import add
from typing import Any, NamedTuple, TypeAlias

import array_api_compat
import numpy as np
from array_api_compat import is_torch_array

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""

LOG_2PI = math.log(2 * math.pi)


def array_namespace(*arrays: Array) -> Any:
    """Returns the functions of the array API for these arrays, or tensors of torch.

    For arrays it is numpy itself: the numpy of ``array_api_compat`` imports numpy.f2py and numpy.testing,
    which takes a tenth of the service's start.
    """
    return array_api_compat.array_namespace(*arrays) if is_torch_array(arrays[0]) else np


class Gaussian(NamedTuple):
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

    def kl_from_prior(self) -> Array:
        r"""The divergence :math:`KL(self \,\|\, \mathcal N(0, I))`, in nats, summed over the last axis."""
        xp = array_namespace(self.mu)
        return xp.sum(self.mu**2 + xp.exp(self.log_var) - 1 - self.log_var, axis=-1) / 2

    def log_overlap(self, other: Gaussian) -> Array:
        r"""The logarithm of :math:`\int self(z) \, other(z) \, dz`, with shape :math:`(*)`."""
        xp = array_namespace(self.mu, other.mu)
        return Gaussian(other.mu, xp.logaddexp(self.log_var, other.log_var)).log_prob(self.mu)

    def times(self, other: Gaussian) -> Gaussian:
        r"""The normal density in proportion to :math:`self(z) \, other(z)`."""
        xp = array_namespace(self.mu, other.mu)
        spread = xp.logaddexp(self.log_var, other.log_var)
        gain = xp.exp(self.log_var - spread)
        return Gaussian(self.mu + gain * (other.mu - self.mu), self.log_var + (other.log_var - spread))


def standard_normal(like: Array) -> Gaussian:
    r"""The prior :math:`p(z) = \mathcal N(0, I)` with the shape of ``like``."""
    zeros = array_namespace(like).zeros_like(like)
    return Gaussian(mu=zeros, log_var=zeros)


def product(experts: Gaussian, present: Array | None = None) -> Gaussian:
    r"""Multiplies the standard normal prior, once, with one expert per observed modality.

    Precisions add up: :math:`\sigma^{-2} = 1 + \sum_{m \in A} \sigma_m^{-2}`. They are summed relative to
    the largest, so that log-variances up to :math:`\pm 500` stay finite in float32. A missing expert has
    weight zero for any values, NaN included; a row with nothing observed is the prior, exactly.

    Arguments:
        experts: The experts :math:`q_m(z \mid x_m)`, with shape :math:`(M, *, D)`.
        present: Whether a row has a modality, boolean with shape :math:`(M, *)`. Broadcasts with the
            experts, so that many subsets of the same experts are fused at once. None: missing experts have a
            mean of 0 and an infinite log-variance.

    Returns:
        The posterior :math:`q(z \mid x_A)`, with shape :math:`(*, D)`.

    Example:
        Two experts of variance 1 and the prior of variance 1; the second row lacks the second expert.

        >>> import numpy as np
        >>> experts = Gaussian(mu=np.array([[[3.0], [3.0]], [[0.0], [np.nan]]]), log_var=np.zeros((2, 2, 1)))
        >>> posterior = product(experts, present=np.array([[True, True], [True, False]]))
        >>> posterior.mu.tolist()
        [[1.0], [1.5]]
        >>> (1 / np.exp(posterior.log_var)).round(6).tolist()
        [[3.0], [2.0]]
    """
    return _product(experts if present is None else _masked(experts, present))[0]


def product_with_shares(experts: Gaussian, present: Array | None = None) -> tuple[Gaussian, Array]:
    r"""The product, and the shares of prior and experts in its precision, averaged over the dimensions.

    Arguments:
        experts: As for :func:`product`, with shape :math:`(M, *, D)`.
        present: As for :func:`product`.

    Returns:
        The posterior, with shape :math:`(*, D)`; and the share of the prior, then of each expert (0 for a
        missing one), with shape :math:`(M + 1, *)`.
    """
    xp = array_namespace(experts.mu, experts.log_var)
    posterior, prior, weights, total = _product(experts if present is None else _masked(experts, present))
    shares = xp.concat([prior[None], weights]) / total
    return posterior, xp.mean(shares, axis=-1)


def _masked(experts: Gaussian, present: Array) -> Gaussian:
    """The experts, with mean 0 and an infinite variance where one is missing."""
    xp = array_namespace(experts.mu, experts.log_var)
    observed = present[..., None]
    return Gaussian(xp.where(observed, experts.mu, 0.0), xp.where(observed, experts.log_var, math.inf))


def _product(experts: Gaussian) -> tuple[Gaussian, Array, Array, Array]:
    """The product, and the precisions of prior, each expert and sum, relative to the largest."""
    xp = array_namespace(experts.mu, experts.log_var)
    # One after the other: there are few experts, and a reduction over them takes longer to begin.
    lowest = reduce(xp.minimum, experts.log_var)
    zero = 0.0 if xp is np else xp.zeros_like(lowest)
    smallest = _constant(xp.minimum(lowest, zero))  # the prior's is 0; where and clip take far longer
    weights = xp.exp(smallest - experts.log_var)
    prior = xp.exp(smallest)
    total = reduce(add, weights) + prior
    mu = reduce(add, weights * experts.mu) / total
    return Gaussian(mu=mu, log_var=smallest - xp.log(total)), prior, weights, total


def _constant(x: Array) -> Array:
    """The value without a gradient: it is subtracted and added again."""
    return x.detach() if is_torch_array(x) else x


def log_normaliser(experts: Gaussian, present: Array) -> Array:
    r"""The logarithm of :math:`Z_A = \int p(z) \prod_{m \in A} q_m(z \mid x_m) \, dz`, in nats.

    Expert by expert, :math:`Z_A = \prod_m \int q(z \mid x_{<m}) \, q_m(z \mid x_m) \, dz`: a product of
    normal densities, in which no two large terms cancel.

    Arguments:
        experts: As for :func:`product`, with shape :math:`(M, *, D)`.
        present: As for :func:`product`, with shape :math:`(M, *)`.

    Returns:
        :math:`\log Z_A`, with shape :math:`(*)`; 0 where nothing is observed.
    """
    xp = array_namespace(experts.mu, experts.log_var)
    before = standard_normal(experts.mu[0])
    total = xp.zeros_like(before.mu[..., 0])
    for m in range(experts.mu.shape[0]):
        observed = present[m][..., None]
        expert = Gaussian(xp.where(observed, experts.mu[m], 0.0), xp.where(observed, experts.log_var[m], 0.0))
        total = total + xp.where(present[m], before.log_overlap(expert), 0.0)
        after = before.times(expert)
        before = Gaussian(
            xp.where(observed, after.mu, before.mu), xp.where(observed, after.log_var, before.log_var)
        )
    return total


def disagreement(experts: Gaussian, present: Array) -> Array:
    r"""Loss of overlap of the experts, compared with each expert's overlap with the prior, in nats.

    .. math:: \sum_{m \in A} \log Z_{\{m\}} - \log Z_A

    0 for one expert or none, above 0 when they contradict each other, below 0 when they confirm each other.

    Arguments:
        experts: As for :func:`product`, with shape :math:`(M, *, D)`.
        present: As for :func:`product`, with shape :math:`(M, *)`.
    """
    xp = array_namespace(experts.mu, experts.log_var)
    observed = present[..., None]
    masked = Gaussian(xp.where(observed, experts.mu, 0.0), xp.where(observed, experts.log_var, 0.0))
    single = xp.where(present, standard_normal(masked.mu).log_overlap(masked), 0.0)
    return xp.sum(single, axis=0) - log_normaliser(experts, present)
