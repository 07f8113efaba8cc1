"""Posteriors, draws from them and where they come from: many questions in one pass. Pure numpy.

A call of numpy takes microseconds, however few the numbers; so questions are fused together, whatever
their subsets. What a row gets does not depend on who else is there.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from models_store.fusion import Gaussian, disagreement, product, product_with_shares
from service.engine.predictive import Array, fill_with_noise

NUMBERS_AT_ONCE = 4096
"""Of the posterior: what is computed from them stays in the cache, and needs no new memory of the system."""


class Expert(NamedTuple):
    """q(z | x) of the rows that have the modality.

    Arguments:
        mu: (rows that have it, D).
        log_var: The same.
        present: Which rows those are, (n,); None for all.
    """

    mu: Array
    log_var: Array
    present: Array | None


class Fusing(NamedTuple):
    """What one question wants fused.

    Arguments:
        experts: By modality, those of the condition; they may still come.
        n: Rows.
        draws: N, of z.
        seed: Of the draws.
        first_row: The number of the first row.
        return_mean: N times the mean instead of draws.
        explained: Whether its origin is wanted.
    """

    experts: MutableMapping[str, Expert]
    n: int
    draws: int
    seed: int
    first_row: int = 0
    return_mean: bool = False
    explained: bool = False


class Origin(NamedTuple):
    """Where posteriors come from.

    Arguments:
        shares: Of the prior, then of every modality of the model, in the posterior's precision: (M + 1, n).
        information: KL from the prior, in nats: (n,).
        disagreement: Between the experts, in nats: (n,).
    """

    shares: Array
    information: Array
    disagreement: Array

    def of(self, rows: slice) -> Origin:
        return Origin(self.shares[:, rows], self.information[rows], self.disagreement[rows])


class Fused(NamedTuple):
    """What it gets.

    Arguments:
        mu: Of the posterior, (n, D).
        log_var: The same.
        z: Draws from it, (n, N, D).
        origin: Where the posterior comes from; None unless it was wanted.
    """

    mu: Array
    log_var: Array
    z: Array
    origin: Origin | None


def fuse(names: Sequence[str], dimension: int, asked: Sequence[Fusing]) -> list[Fused]:
    """The posteriors that were asked for.

    Arguments:
        names: Of the modalities of the model.
        dimension: D.
        asked: By question.
    """
    stops = accumulate(one.n for one in asked)
    spans = [slice(stop - one.n, stop) for one, stop in zip(asked, stops, strict=True)]
    experts = _stacked(names, dimension, asked, spans)
    (mu, log_var), origin = _product(experts, any(one.explained for one in asked))
    drawn = _draws(mu, np.exp(log_var / 2), asked)
    return [
        Fused(mu[span], log_var[span], z, origin.of(span) if origin and one.explained else None)
        for one, span, z in zip(asked, spans, drawn, strict=True)
    ]


def _product(experts: Gaussian, explained: bool) -> tuple[Gaussian, Origin | None]:
    """The posteriors in float32; and where they come from if anybody asks, which takes as long again."""
    _, rows, dimension = experts.mu.shape
    step = max(1, NUMBERS_AT_ONCE // dimension)
    narrow = Gaussian(*np.empty((2, rows, dimension), np.float32))
    origins = []
    for start in range(0, rows, step):
        piece = slice(start, start + step)
        few = Gaussian(experts.mu[:, piece], experts.log_var[:, piece])
        if explained:
            posterior, shares = product_with_shares(few)
            origins.append(Origin(shares, posterior.kl_from_prior(), _disagreement(few)))
        else:
            posterior = product(few)
        narrow.mu[piece], narrow.log_var[piece] = posterior
    if not origins:
        return narrow, None
    return narrow, Origin(*(np.concatenate(parts, axis=-1) for parts in zip(*origins, strict=True)))


def _stacked(
    names: Sequence[str], dimension: int, asked: Sequence[Fusing], spans: Sequence[slice]
) -> Gaussian:
    """The experts of all rows, (M, rows, D); those that are missing say nothing."""
    shape = (len(names), sum([one.n for one in asked]), dimension)
    # Experts may lie hundreds of nats apart, and what is said of them is a difference of such numbers.
    mu, log_var = np.zeros((2, *shape))
    log_var[...] = np.inf
    for one, span in zip(asked, spans, strict=True):
        for name, expert in one.experts.items():
            m = names.index(name)
            if expert.present is None:
                mu[m, span], log_var[m, span] = expert.mu, expert.log_var
            else:
                mu[m, span][expert.present] = expert.mu
                log_var[m, span][expert.present] = expert.log_var
    return Gaussian(mu, log_var)


def _disagreement(experts: Gaussian) -> Array:
    """That of each row; one expert, or none, cannot disagree, nor one that says nothing of any dimension."""
    present = experts.log_var.min(axis=-1) != np.inf
    found = np.zeros(present.shape[1])
    several = present.sum(axis=0) > 1
    if several.any():
        among = Gaussian(experts.mu[:, several], experts.log_var[:, several])
        found[several] = disagreement(among, present[:, several])
    return found


def _draws(mu: Array, std: Array, asked: Sequence[Fusing]) -> list[Array]:
    """Draws of z by question, (n, N, D)."""
    draws, dimension = [one.draws for one in asked], mu.shape[1]
    z = np.zeros((sum([one.n * one.draws for one in asked]), dimension), np.float32)
    own = []
    start = 0
    for one in asked:
        stop = start + one.n * one.draws
        part = z[start:stop].reshape(one.n, one.draws, dimension)
        if not one.return_mean:
            fill_with_noise(part, one.seed, one.first_row)
        own.append(part)
        start = stop
    if len(set(draws)) == 1:  # as of a large question, whose draws take most of the memory: no copies of them
        moved = z.reshape(len(mu), draws[0], dimension)
        moved *= std[:, None]
        moved += mu[:, None]
    else:
        times = np.repeat(draws, [one.n for one in asked])
        z *= np.repeat(std, times, axis=0)
        z += np.repeat(mu, times, axis=0)
    return own
