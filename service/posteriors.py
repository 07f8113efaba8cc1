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
from service.predictive import Array, fill_with_noise


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
    experts, present = _stacked(names, dimension, asked, spans)
    posterior, origin = _product(experts, present, any(one.explained for one in asked))
    mu, log_var = posterior.mu.astype(np.float32), posterior.log_var.astype(np.float32)
    drawn = _draws(mu, np.exp(log_var / 2), asked)
    return [
        Fused(mu[span], log_var[span], z, origin.of(span) if origin and one.explained else None)
        for one, span, z in zip(asked, spans, drawn, strict=True)
    ]


def _product(experts: Gaussian, present: Array, explained: bool) -> tuple[Gaussian, Origin | None]:
    """The posteriors, and where they come from if anybody asks: that takes as long again."""
    if not explained:
        return product(experts, present), None
    posterior, shares = product_with_shares(experts, present)
    return posterior, Origin(shares, posterior.kl_from_prior(), _disagreement(experts, present))


def _stacked(
    names: Sequence[str], dimension: int, asked: Sequence[Fusing], spans: Sequence[slice]
) -> tuple[Gaussian, Array]:
    """The experts of all rows, (M, rows, D), and who is present, (M, rows)."""
    rows = spans[-1].stop if spans else 0
    # Experts may lie hundreds of nats apart, and what is said of them is a difference of such numbers.
    mu, log_var = np.empty((2, len(names), rows, dimension))
    present = np.zeros((len(names), rows), bool)
    for one, span in zip(asked, spans, strict=True):
        for name, expert in one.experts.items():
            m = names.index(name)
            if expert.present is None:
                mu[m, span], log_var[m, span], present[m, span] = expert.mu, expert.log_var, True
            else:
                present[m, span] = expert.present
                mu[m, span][expert.present] = expert.mu
                log_var[m, span][expert.present] = expert.log_var
    return Gaussian(mu, log_var), present


def _disagreement(experts: Gaussian, present: Array) -> Array:
    """That of each row; one expert, or none, cannot disagree."""
    found = np.zeros(present.shape[1])
    if len(present) > 1:
        several = present.sum(axis=0) > 1
        if several.any():
            among = Gaussian(experts.mu[:, several], experts.log_var[:, several])
            found[several] = disagreement(among, present[:, several])
    return found


def _draws(mu: Array, std: Array, asked: Sequence[Fusing]) -> list[Array]:
    """Draws of z by question, (n, N, D)."""
    draws, dimension = [one.draws for one in asked], mu.shape[1]
    if set(draws) != {1}:
        times = np.repeat(draws, [one.n for one in asked])
        mu, std = np.repeat(mu, times, axis=0), np.repeat(std, times, axis=0)
    z = np.zeros(mu.shape, np.float32)
    own = []
    start = 0
    for one in asked:
        stop = start + one.n * one.draws
        part = z[start:stop].reshape(one.n, one.draws, dimension)
        if not one.return_mean:
            fill_with_noise(part, one.seed, one.first_row)
        own.append(part)
        start = stop
    z *= std
    z += mu
    return own
