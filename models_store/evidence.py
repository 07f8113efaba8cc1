r"""Log-likelihoods by importance sampling, with their error.

For draws :math:`z_k \sim q`, the weights :math:`w_k = p(x, z_k) / q(z_k)` average to :math:`p(x)`.
:math:`q` is a mixture: nine tenths of the draws come from posteriors, one from the prior, which finds what
they miss where little is known. A conditional :math:`p(x_T \mid x_S)` is the ratio of two such averages over
the same draws, as many from :math:`q(z \mid x_{S \cup T})` as from :math:`q(z \mid x_S)`. What the mixture
misses is missing above and below, where two separate estimates would each miss something else.

References:
    | Importance Weighted Autoencoders (Burda, Grosse & Salakhutdinov, 2016)
    | https://arxiv.org/abs/1509.00519
    | Optimally Combining Sampling Techniques for Monte Carlo Rendering (Veach & Guibas, 1995): the mixture
    | https://doi.org/10.1145/218380.218498
    | Weighted Average Importance Sampling and Defensive Mixture Distributions (Hesterberg, 1995)
    | https://doi.org/10.1080/00401706.1995.10484303
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

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


def defensive(draws: int) -> int:
    """How many of so many draws come from the prior: a tenth, so that no weight exceeds 10 p(x | z).

    Of fewer than 20 none does, since one alone has no spread.
    """
    return draws // 10 if draws >= 20 else 0


@dataclass(frozen=True)
class Proposals:
    """Where draws of z come from: posteriors, as evenly as can be, and last the prior.

    Arguments:
        posteriors: At least one, each with shape (*, D).
        draws: How many come from all of them together, K.
        from_prior: How many of these from the prior.
    """

    posteriors: Sequence[Gaussian]
    draws: int
    from_prior: int = 0

    @property
    def sources(self) -> list[Gaussian]:
        """The posteriors and the prior."""
        return [*self.posteriors, standard_normal(self.posteriors[0].mu)]

    @property
    def counts(self) -> list[int]:
        """How many draws come from each source."""
        each, more = divmod(self.draws - self.from_prior, len(self.posteriors))
        return [each + (index < more) for index in range(len(self.posteriors))] + [self.from_prior]

    def log_prob(self, z: Array) -> Array:
        """The log-density of the mixture at z, (K, *, D), in nats: (K, *)."""
        densities = [
            source.log_prob(z) + math.log(count / self.draws)
            for source, count in zip(self.sources, self.counts, strict=True)
            if count
        ]
        return reduce(array_namespace(z).logaddexp, densities)


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


def evidence(log_weights: Array, counts: Sequence[int] = ()) -> Evidence:
    r"""Averages importance weights that are given as logarithms.

    Arguments:
        log_weights: :math:`\log w_k`, with shape (K, *), source by source; averaged over K.
        counts: How many draws come from each source; default: all from one.
    """
    xp = array_namespace(log_weights)
    weights, largest = _relative(log_weights)
    possible = largest > -math.inf  # else no draw explains the row at all
    total = xp.where(possible, xp.sum(weights, axis=0), 1.0)
    ess = total**2 / xp.where(possible, xp.sum(weights**2, axis=0), 1.0)
    log_prob = largest + xp.log(total) - math.log(log_weights.shape[0])
    spread = _spread(weights / total, counts or [log_weights.shape[0]])
    return Evidence(
        log_prob=xp.where(possible, log_prob, -math.inf),
        std_error=xp.where(possible, spread, math.nan),
        ess=xp.where(possible, ess, 0.0),
    )


def conditional(whole: Array, part: Array, counts: Sequence[int]) -> Evidence:
    r"""The conditional :math:`\log p(x_T \mid x_S) = \log p(x_T, x_S) - \log p(x_S)` from the same draws.

    The effective sample size is that of the weaker of the two averages.

    Arguments:
        whole: The log-weights of T and S together, with shape (K, *), source by source.
        part: Those of S alone.
        counts: How many draws come from each source.
    """
    xp = array_namespace(whole)
    above, below = evidence(whole), evidence(part)
    possible = (above.ess > 0) & (below.ess > 0)
    shares = []
    for log_weights in (whole, part):
        weights, _ = _relative(log_weights)
        shares.append(weights / xp.where(possible, xp.sum(weights, axis=0), 1.0))
    return Evidence(
        log_prob=above.log_prob - below.log_prob,
        std_error=xp.where(possible, _spread(shares[0] - shares[1], counts), math.nan),
        ess=xp.where(above.ess < below.ess, above.ess, below.ess),
    )


def _relative(log_weights: Array) -> tuple[Array, Array]:
    """The weights ÷ the largest, and its logarithm; all 0 where no draw explains the row."""
    xp = array_namespace(log_weights)
    largest = xp.max(log_weights, axis=0)
    return xp.exp(log_weights - xp.where(largest > -math.inf, largest, 0.0)), largest


def _spread(shares: Array, counts: Sequence[int]) -> Array:
    """The standard error of a sum over the draws, of which each source gave its own: the delta method."""
    xp = array_namespace(shares)
    variance, start = xp.zeros_like(shares[0]), 0
    for count in counts:
        own = shares[start : start + count]
        if count:
            scale = count / (count - 1) if count > 1 else math.nan
            variance = variance + scale * xp.sum((own - xp.mean(own, axis=0)) ** 2, axis=0)
        start += count
    return xp.sqrt(variance)
