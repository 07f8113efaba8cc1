"""Posteriors, draws from them and where they come from: many questions in one pass. Pure numpy.

A call of numpy takes microseconds, however few the numbers; so questions are fused together, whatever
their subsets. What a row gets does not depend on who else is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from models_store.fusion import Gaussian, disagreement, product_with_shares
from service.predictive import Array, noise


@dataclass(frozen=True, slots=True)
class Expert:
    """q(z | x) of the rows that have the modality.

    Arguments:
        mu: (rows that have it, D).
        log_var: The same.
        present: Which rows those are, (n,); None for all.
    """

    mu: Array
    log_var: Array
    present: Array | None


@dataclass(frozen=True, slots=True)
class Fusing:
    """What one question wants fused.

    Arguments:
        experts: By modality.
        n: Rows.
        draws: N, of z.
        seed: Of the draws.
        first_row: The number of the first row.
        return_mean: N times the mean instead of draws.
    """

    experts: Mapping[str, Expert]
    n: int
    draws: int
    seed: int
    first_row: int = 0
    return_mean: bool = False


@dataclass(frozen=True, slots=True)
class Fused:
    """What it gets.

    Arguments:
        posterior: (n, D).
        z: Draws from it, (n, N, D).
        shares: Of the prior, then of every modality of the model, in the posterior's precision: (M + 1, n).
        information: KL from the prior, in nats: (n,).
        disagreement: Between the experts, in nats: (n,).
    """

    posterior: Gaussian
    z: Array
    shares: Array
    information: Array
    disagreement: Array


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
    posterior, shares = product_with_shares(experts, present)
    information = posterior.kl_from_prior()
    disagreements = _disagreement(experts, present)
    narrow = Gaussian(posterior.mu.astype(np.float32), posterior.log_var.astype(np.float32))
    std = np.exp(narrow.log_var / 2)
    fused = []
    for one, span in zip(asked, spans, strict=True):
        own = Gaussian(narrow.mu[span], narrow.log_var[span])
        z = _draws(own.mu, std[span], one)
        fused.append(Fused(own, z, shares[:, span], information[span], disagreements[span]))
    return fused


def _stacked(
    names: Sequence[str], dimension: int, asked: Sequence[Fusing], spans: Sequence[slice]
) -> tuple[Gaussian, Array]:
    """The experts of all rows, (M, rows, D), and who is present, (M, rows)."""
    rows = spans[-1].stop if spans else 0
    # Experts may lie hundreds of nats apart, and what is said of them is a difference of such numbers.
    mu = np.zeros((len(names), rows, dimension))
    log_var = np.zeros_like(mu)
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


def _draws(mu: Array, std: Array, one: Fusing) -> Array:
    """Draws of z, (n, N, D)."""
    if one.return_mean:
        return np.repeat(mu[:, None], one.draws, axis=1)
    z = noise(one.n, one.draws, mu.shape[1], one.seed, one.first_row)
    z *= std[:, None]
    z += mu[:, None]
    return z
