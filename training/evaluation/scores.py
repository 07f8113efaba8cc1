"""log p(x_T | x_S) of held-out rows: their mean for the card, their quantiles for ``p_value``.

The evidence of each subset is estimated once; a conditional is the difference of two of them, over the rows
that have both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch

from models_store.evidence import evidence, log_weights
from models_store.fusion import Gaussian, disagreement
from models_store.manifest import Reference
from training.data.rows import Rows
from training.evaluation.examinee import (
    PAIRS,
    Examinee,
    NumpyArray,
    observed,
    observed_all,
    question,
    subsets,
)

DECODED = 6_000_000
"""Rows that may be decoded for the subsets between the single modalities and the whole."""
FEWEST = 100
"""Rows for each of those subsets, even if that is more."""
LEVELS = np.linspace(0, 1, 101)
FEWEST_REFERENCE = 20
"""A quantile of fewer rows says nothing."""


@dataclass(frozen=True)
class Scores:
    """How rows score on one subset.

    Arguments:
        row: The numbers of the rows among the held-out ones: (n,).
        complete: Whether such a row has all of the subset: (n,).
        log_prob: (n,).
        ess: (n,).
        disagreement: (n,).
    """

    row: NumpyArray
    complete: NumpyArray
    log_prob: NumpyArray
    ess: NumpyArray
    disagreement: NumpyArray


Subset = tuple[str, ...]
Questions = Mapping[Subset, Sequence[Subset]]
"""By what is asked for, what it is asked given; () for nothing."""


def questions(names: Sequence[str]) -> dict[Subset, list[Subset]]:
    """What is scored: subsets alone and given all others, and each modality given each other one."""
    asked: dict[Subset, list[Subset]] = {}
    for targets in subsets(names):
        rest = tuple(name for name in names if name not in targets)
        asked[targets] = [(), rest] if rest else [()]
    if len(names) <= PAIRS:
        for one, other in permutations(names, 2):
            if (other,) not in asked[(one,)]:
                asked[(one,)].append((other,))
    return asked


def score(examinee: Examinee) -> dict[Subset, Scores]:
    """The evidence of every subset that a question needs."""
    names = examinee.manifest.names
    needed = dict.fromkeys(
        tuple(name for name in names if name in targets + given)
        for targets, conditions in questions(names).items()
        for given in ((), *conditions)
    )
    needed |= dict.fromkeys(
        given for conditions in questions(names).values() for given in conditions if given
    )
    between = [subset for subset in needed if 1 < len(subset) < len(names)]
    decoded = sum(map(len, between)) * examinee.settings.importance_samples
    few = min(examinee.settings.rows, max(FEWEST, DECODED // max(decoded, 1)))
    found = {}
    for subset in needed:
        scores = _score(examinee, subset, few if subset in between else examinee.settings.rows)
        if len(scores.row) > 1:
            found[subset] = scores
    return found


def _score(examinee: Examinee, names: Subset, most: int) -> Scores:
    """The whole is scored of all rows that have something of it; another subset of those that have it all."""
    whole = names == examinee.manifest.names
    chosen = observed_all(examinee.test, names)
    if whole:
        chosen = np.any([observed(examinee.test, name) for name in names], axis=0)
    row = np.flatnonzero(chosen)[:most]
    rows = examinee.test.take(torch.from_numpy(row))
    estimate = log_prob(examinee, rows, names)
    experts, present = examinee.experts(rows, names)
    wide = Gaussian(experts.mu.astype(np.float64), experts.log_var.astype(np.float64))
    return Scores(
        row, observed_all(rows, names), estimate["log_prob"], estimate["ess"], disagreement(wide, present)
    )


def log_prob(examinee: Examinee, rows: Rows, names: Sequence[str]) -> Mapping[str, NumpyArray]:
    """Estimates log p(x_S) of each row with importance samples from q(z | x_S).

    Returns:
        ``log_prob``, ``std_error`` and ``ess``, each (n,).
    """
    rng = examinee.rng()
    draws = examinee.settings.importance_samples
    columns = []
    for index in range(len(rows)):
        row = rows.take(slice(index, index + 1))
        posterior = examinee.posterior(row, names)
        noise = rng.standard_normal((draws, 1, examinee.manifest.latent_dim), np.float32)
        z = posterior.sample(noise)
        likelihoods = []
        for name in names:
            modality = examinee.manifest.modality(name)
            decoded = examinee.graphs.decode(name, z[:, 0])
            wide = {key: value[:, None] for key, value in decoded.items()}
            cells = modality.distribution.row_log_prob(row.data[name].numpy(), wide)
            likelihoods.append((cells, observed(row, name)))
        columns.append(evidence(log_weights(z, posterior, likelihoods).astype(np.float64)))
    return {
        key: np.concatenate([getattr(e, key) for e in columns]) if columns else np.zeros(0)
        for key in ("log_prob", "std_error", "ess")
    }


def log_probs(examinee: Examinee, scores: Mapping[Subset, Scores]) -> Iterator[tuple[str, dict[str, float]]]:
    """Of every question: the mean, in nats per row, and its standard error over the rows."""
    for targets, conditions in questions(examinee.manifest.names).items():
        for given in conditions:
            asked = _answer(examinee, scores, targets, given, complete=False)
            if asked is None:
                continue
            values, ess = asked
            yield (
                question(targets, given),
                {
                    "mean": round(float(values.mean()), 3),
                    "std_error": round(float(values.std(ddof=1) / np.sqrt(len(values))), 3),
                    "median_ess": round(float(np.median(ess)), 1),
                    "rows": len(values),
                    "K": examinee.settings.importance_samples,
                },
            )


def references(examinee: Examinee, scores: Mapping[Subset, Scores]) -> dict[str, Reference]:
    """By question, how the held-out rows that have all of it scored: what ``p_value`` compares with."""
    found = {}
    for targets, conditions in questions(examinee.manifest.names).items():
        for given in conditions:
            asked = _answer(examinee, scores, targets, given, complete=True)
            if asked is None or len(asked[0]) < FEWEST_REFERENCE or not np.isfinite(asked[0]).all():
                continue
            apart = None
            if not given and len(targets) > 1:
                apart = _quantiles(scores[targets].disagreement[scores[targets].complete])
            found[question(targets, given)] = Reference(
                K=examinee.settings.importance_samples,
                rows=len(asked[0]),
                quantiles=_quantiles(asked[0]),
                disagreement=apart,
            )
    return found


def _answer(
    examinee: Examinee, scores: Mapping[Subset, Scores], targets: Subset, given: Subset, *, complete: bool
) -> tuple[NumpyArray, NumpyArray] | None:
    """The scores and effective sample sizes of the rows that were asked, or None where there are too few."""
    whole = scores.get(tuple(name for name in examinee.manifest.names if name in targets + given))
    if whole is None:
        return None
    keep = whole.complete if complete or given else np.ones(len(whole.row), bool)
    row, value, ess = whole.row[keep], whole.log_prob[keep], whole.ess[keep]
    if given:
        part = scores.get(given)
        if part is None:
            return None
        row, here, there = np.intersect1d(row, part.row, assume_unique=True, return_indices=True)
        value, ess = value[here] - part.log_prob[there], np.minimum(ess[here], part.ess[there])
    return (value, ess) if len(row) > 1 else None


def _quantiles(values: NumpyArray) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in np.quantile(values, LEVELS))
