r"""Log-likelihoods by importance sampling, with their error.

For draws :math:`z_k \sim q`, the weights :math:`w_k = p(x, z_k) / q(z_k)` average to :math:`p(x)`.
A conditional :math:`p(x_T \mid x_S)` is the ratio of two such averages over the same draws, of which one half
comes from :math:`q(z \mid x_{S \cup T})` and one from :math:`q(z \mid x_S)`; :math:`q` is their mixture. What
it misses is missing above and below, where two separate estimates would each miss something else.

References:
    | Importance Weighted Autoencoders (Burda, Grosse & Salakhutdinov, 2016)
    | https://arxiv.org/abs/1509.00519
    | Optimally Combining Sampling Techniques for Monte Carlo Rendering (Veach & Guibas, 1995): the mixture
    | https://doi.org/10.1145/218380.218498
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from array_api_compat import array_namespace

from models_store.fusion import Array, Gaussian, standard_normal


@dataclass(frozen=True)
class Evidence:
    """An estimated log-likelihood per row.

    Arguments:
        log_prob: The estimate, in nats, with shape (*).
        std_error: Its standard error, by the delta method, in nats; NaN where a single draw, or none that
            explains the row, tells nothing of it.
        ess: The effective sample size, between 1 and K: how many of the draws carry the estimate; 0 if none.
    """

    log_prob: Array
    std_error: Array
    ess: Array


@dataclass(frozen=True)
class Proposals:
    """Where draws of z come from: one posterior, or several in turn, as evenly as can be.

    Arguments:
        posteriors: Each with shape (*, D).
        draws: How many come from all of them together, K.
    """

    posteriors: Sequence[Gaussian]
    draws: int

    @property
    def counts(self) -> list[int]:
        """How many come from each."""
        each, more = divmod(self.draws, len(self.posteriors))
        return [each + (index < more) for index in range(len(self.posteriors))]

    def log_prob(self, z: Array) -> Array:
        """The log-density of their mixture at z, (K, *, D), in nats: (K, *)."""
        total = None
        for posterior, count in zip(self.posteriors, self.counts, strict=True):
            if count:
                density = posterior.log_prob(z) + math.log(count / self.draws)
                total = density if total is None else array_namespace(z).logaddexp(total, density)
        return total


def log_weights(z: Array, proposals: Proposals, log_likelihoods: Iterable[tuple[Array, Array]]) -> Array:
    r"""The logarithm of :math:`w_k = p(z_k) \prod_{m \in A} p(x_m \mid z_k) / q(z_k)`, in nats.

    Arguments:
        z: Draws from the proposals, with shape (K, *, D).
        proposals: :math:`q`.
        log_likelihoods: Per modality :math:`\log p(x_m | z_k)`, with shape (K, *), and whether it is
            observed, with shape (*); a missing one counts nothing, whatever its value.
    """
    xp = array_namespace(z)
    log_weight = standard_normal(proposals.posteriors[0].mu).log_prob(z) - proposals.log_prob(z)
    for log_likelihood, present in log_likelihoods:
        log_weight = log_weight + xp.where(present, log_likelihood, 0.0)
    return log_weight


def evidence(log_weights: Array) -> Evidence:
    r"""Averages importance weights that are given as logarithms.

    Arguments:
        log_weights: :math:`\log w_k`, with shape (K, *); the average is over the first axis.
    """
    xp = array_namespace(log_weights)
    n = log_weights.shape[0]
    largest = xp.max(log_weights, axis=0)
    possible = largest > -math.inf  # else no draw explains the row at all
    largest = xp.where(possible, largest, 0.0)
    weights = xp.where(possible, xp.exp(log_weights - largest), 1.0)
    total, squares = xp.sum(weights, axis=0), xp.sum(weights**2, axis=0)
    ess = total**2 / squares
    # Var(mean of w) / mean^2 = (1/ess - 1/n) * n / (n - 1); below 0 only by rounding
    spread = (
        xp.sqrt(xp.clip((1 / ess - 1 / n) * n / (n - 1), min=0.0)) if n > 1 else xp.full_like(ess, math.nan)
    )
    log_prob = xp.where(possible, largest + xp.log(total) - math.log(n), -math.inf)
    return Evidence(
        log_prob=log_prob,
        std_error=xp.where(possible, spread, math.nan),
        ess=xp.where(possible, ess, 0.0),
    )


def conditional(whole: Array, part: Array, counts: Sequence[int]) -> Evidence:
    r"""The conditional :math:`\log p(x_T \mid x_S) = \log p(x_T, x_S) - \log p(x_S)` from the same draws.

    The error is that of a ratio, by the delta method, within the draws of each proposal. The effective sample
    size is that of the weaker of the two averages.

    Arguments:
        whole: The log-weights of T and S together, with shape (K, *), proposal by proposal.
        part: Those of S alone.
        counts: How many draws come from each proposal.
    """
    xp = array_namespace(whole)
    above, below = evidence(whole), evidence(part)
    apart = _shares(whole) - _shares(part)
    variance, start = xp.zeros_like(above.log_prob), 0
    for count in counts:
        own = apart[start : start + count]
        scale = count / (count - 1) if count > 1 else math.nan
        variance = variance + scale * xp.sum((own - xp.mean(own, axis=0)) ** 2, axis=0) if count else variance
        start += count
    return Evidence(
        log_prob=above.log_prob - below.log_prob,
        std_error=xp.sqrt(variance),
        ess=xp.where(above.ess < below.ess, above.ess, below.ess),
    )


def _shares(log_weights: Array) -> Array:
    """What share of the average each draw has; NaN where no draw explains the row."""
    xp = array_namespace(log_weights)
    largest = xp.max(log_weights, axis=0)
    possible = largest > -math.inf
    weights = xp.exp(log_weights - xp.where(possible, largest, 0.0))
    return xp.where(possible, weights / xp.where(possible, xp.sum(weights, axis=0), 1.0), math.nan)
