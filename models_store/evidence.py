r"""Log-likelihoods by importance sampling, with their error.

For draws :math:`z_k \sim q`, the weights :math:`w_k = p(x, z_k) / q(z_k)` average to :math:`p(x)`.
:math:`q` is a mixture: nine tenths of the draws come from posteriors, most of them widened, one tenth from
the prior, which finds what they miss where little is known. A conditional :math:`p(x_T \mid x_S)` is the
ratio of two such averages over the same draws, as many from :math:`q(z \mid x_{S \cup T})` as from
:math:`q(z \mid x_S)`. What the mixture misses is missing above and below, where two separate estimates would
each miss something else.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate

from array_api_compat import array_namespace

from models_store.fusion import Array, Gaussian, standard_normal

FEW = 20
"""Draws that are too few to be shared out."""
WIDTHS = (1.0, 1.5, 2.0, 3.0)
"""By which the standard deviation of a posterior is multiplied for proposals.

What maximises an ELBO is narrower than the true posterior, more so of a modality whose likelihood counts
several times, and of proposals that are too narrow hardly any finds what the average is made of. How much too
narrow depends on the model; `training/README.md` has what was measured.
"""


@dataclass(frozen=True)
class Evidence:
    """An estimated log-likelihood per row.

    Arguments:
        log_prob: The estimate, in nats, with shape (*).
        std_error: Its standard error, by the delta method, in nats; NaN where it cannot be estimated:
            from a single draw, or where no draw explains the row.
        ess: The effective sample size, between 1 and K: how many of the draws carry the estimate; 0 if none.
    """

    log_prob: Array
    std_error: Array
    ess: Array


@dataclass(frozen=True)
class Proposals:
    r"""Where draws of z come from.

    Arguments:
        sources: The parts of the mixture :math:`q`, each (*, D).
        counts: How many draws come from each.
    """

    sources: Sequence[Gaussian]
    counts: Sequence[int]

    @property
    def draws(self) -> int:
        """All of them together, K."""
        return sum(self.counts)

    def sample(self, noise: Callable[[int], Array], at_once: int) -> Iterator[Array]:
        """All draws of z, source by source, in portions of at most ``at_once``: each (portion, *, D).

        Arguments:
            noise: From a number to as many standard normal draws, (number, *, D).
            at_once: No portion is larger.
        """
        stops = [*accumulate(self.counts)]
        for first in range(0, self.draws, at_once):
            shares = [
                (source, min(stop, first + at_once) - max(start, first))
                for source, start, stop in zip(self.sources, [0, *stops[:-1]], stops, strict=True)
            ]
            drawn = [source.sample(noise(share)) for source, share in shares if share > 0]
            yield array_namespace(drawn[0]).concat(drawn)

    def log_prob(self, z: Array) -> Array:
        """The log-density of the mixture at z, (K, *, D), in nats: (K, *)."""
        densities = [
            source.log_prob(z) + math.log(count / self.draws)
            for source, count in zip(self.sources, self.counts, strict=True)
            if count
        ]
        return reduce(array_namespace(z).logaddexp, densities)


def plain(posteriors: Sequence[Gaussian], draws: int) -> Proposals:
    """All draws from the posterior given everything, as the reference implementation has it."""
    return Proposals(posteriors[:1], [draws])


def defensive(posteriors: Sequence[Gaussian], draws: int) -> Proposals:
    r"""A tenth of the draws from the prior, so that no weight exceeds 10 p(x | z); the rest from posteriors.

    Those of each posterior are shared evenly among ``WIDTHS`` of it. With fewer than 20 draws all come from
    the posteriors as they are, since one alone has no spread.

    Arguments:
        posteriors: :math:`q(z | x_{S \cup T})`, and :math:`q(z | x_S)` where S is not empty: each (*, D).
        draws: K.

    Returns:
        Of each posterior its widths, and last the prior.
    """
    from_prior, widths = (draws // 10, WIDTHS) if draws >= FEW else (0, WIDTHS[:1])
    sources = [widened(posterior, width) for posterior in posteriors for width in widths]
    each, more = divmod(draws - from_prior, len(sources))
    counts = [each + (index < more) for index in range(len(sources))]
    return Proposals([*sources, standard_normal(posteriors[0].mu)], [*counts, from_prior])


def widened(posterior: Gaussian, width: float) -> Gaussian:
    """The same with so many times its standard deviation, where that is not more than the prior's: (*, D)."""
    xp = array_namespace(posterior.log_var)
    wider = xp.minimum(posterior.log_var + 2 * math.log(width), xp.zeros_like(posterior.log_var))
    return Gaussian(posterior.mu, xp.maximum(posterior.log_var, wider))


Explained = Iterable[tuple[Array, Array]]
"""Per modality log p(x_m | z_k), with shape (K, *), and whether it is observed, with shape (*).

The value of a missing one is ignored."""


def log_weights(z: Array, proposals: Proposals, scored: Explained, given: Explained = ()) -> Array:
    r"""The logarithms of :math:`p(z_k) \prod_m p(x_m \mid z_k) / q(z_k)`, m in T and S, and in S alone.

    Arguments:
        z: Draws from the proposals, with shape (K, *, D).
        proposals: :math:`q`.
        scored: The modalities in T.
        given: Those in S.

    Returns:
        In nats, with shape (2, K, *); (1, K, *) where nothing is given.
    """
    xp = array_namespace(z)
    given = list(given)
    alone = standard_normal(proposals.sources[0].mu).log_prob(z) - proposals.log_prob(z)
    for log_likelihood, present in given:
        alone = alone + xp.where(present, log_likelihood, 0.0)
    together = alone
    for log_likelihood, present in scored:
        together = together + xp.where(present, log_likelihood, 0.0)
    return xp.stack([together, alone] if given else [together])


def estimate(log_weights: Array, proposals: Proposals) -> Evidence:
    r""":math:`\log p(x_T \mid x_S)` of the weights of all draws, as they come from :func:`log_weights`."""
    if len(log_weights) == 1:
        return evidence(log_weights[0], proposals.counts)
    return conditional(log_weights[0], log_weights[1], proposals.counts)


def evidence(log_weights: Array, counts: Sequence[int] = ()) -> Evidence:
    r"""Averages importance weights that are given as logarithms.

    Arguments:
        log_weights: :math:`\log w_k`, with shape (K, *), source by source; averaged over K.
        counts: How many draws come from each source; default: all from one.

    Example:
        The average of the weights 1, 1, 1 and 5 is 2; their effective sample size 8² / 28.

        >>> import numpy as np
        >>> estimate = evidence(np.log([1.0, 1.0, 1.0, 5.0]))
        >>> np.exp(estimate.log_prob).round(6).item(), estimate.ess.round(4).item()
        (2.0, 2.2857)
    """
    log_prob, shares, ess = _average(log_weights)
    return Evidence(log_prob, _spread(shares, ess > 0, counts or [log_weights.shape[0]]), ess)


def conditional(whole: Array, part: Array, counts: Sequence[int]) -> Evidence:
    r"""The conditional :math:`\log p(x_T \mid x_S) = \log p(x_T, x_S) - \log p(x_S)` from the same draws.

    The effective sample size is that of the weaker of the two averages.

    Arguments:
        whole: The log-weights of T and S together, with shape (K, *), source by source.
        part: Those of S alone.
        counts: How many draws come from each source.
    """
    xp = array_namespace(whole)
    above, below = _average(whole), _average(part)
    ess = xp.where(above[2] < below[2], above[2], below[2])
    return Evidence(above[0] - below[0], _spread(above[1] - below[1], ess > 0, counts), ess)


def _average(log_weights: Array) -> tuple[Array, Array, Array]:
    """Its logarithm, (*), what share of it each draw has, (K, *), and the effective sample size, (*)."""
    xp = array_namespace(log_weights)
    largest = xp.max(log_weights, axis=0)
    possible = largest > -math.inf  # else no draw explains the row at all
    weights = xp.exp(log_weights - xp.where(possible, largest, 0.0))
    total = xp.where(possible, xp.sum(weights, axis=0), 1.0)
    squares = xp.where(possible, xp.sum(weights**2, axis=0), 1.0)
    log_prob = largest + xp.log(total) - math.log(log_weights.shape[0])
    return log_prob, weights / total, xp.where(possible, total**2 / squares, 0.0)


def _spread(shares: Array, possible: Array, counts: Sequence[int]) -> Array:
    """The standard error of a sum over the draws, of which each source gave its own: the delta method."""
    xp = array_namespace(shares)
    variance, start = xp.zeros_like(shares[0]), 0
    for count in filter(None, counts):
        of_source = shares[start : start + count]
        scale = count / (count - 1) if count > 1 else math.nan
        variance = variance + scale * xp.sum((of_source - xp.mean(of_source, axis=0)) ** 2, axis=0)
        start += count
    return xp.where(possible, xp.sqrt(variance), math.nan)
