"""log p(x_T | x_S) of held-out rows: their mean for the card, their quantiles for ``p_value``.

A subset alone is scored of the rows that have all of it, the whole of those that have anything; a
conditional of those that have all of both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models_store.arrays import Array
from models_store.evidence import Evidence, defensive, estimate, log_weights
from models_store.fusion import Gaussian, disagreement
from models_store.manifest import Reference
from training.data.rows import Rows
from training.evaluation.evaluated import (
    PAIRS,
    EvaluatedModel,
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
    """How rows score on one question.

    Arguments:
        complete: Whether such a row has all of the question: (n,).
        log_prob: (n,).
        ess: (n,).
        disagreement: Between the experts of all that the question names: (n,).
    """

    complete: Array
    log_prob: Array
    ess: Array
    disagreement: Array


Subset = tuple[str, ...]
Asked = tuple[Subset, Subset]
"""T and S; () for nothing given."""


def questions(names: Sequence[str]) -> list[Asked]:
    """What is scored: subsets alone and given all others, and each modality given each other one."""
    conditional: list[Asked] = []
    for targets in subsets(names):
        rest = tuple(name for name in names if name not in targets)
        conditional += [(targets, ()), (targets, rest)] if rest else [(targets, ())]
        if len(names) <= PAIRS and len(targets) == 1:
            conditional += [(targets, (other,)) for other in rest if (other,) != rest]
    return conditional


def score(evaluated: EvaluatedModel) -> dict[Asked, Scores]:
    """How held-out rows score on every question that at least two of them can be asked."""
    names = evaluated.manifest.names
    conditional = questions(names)
    many = [(targets, given) for targets, given in conditional if given or 1 < len(targets) < len(names)]
    decoded = sum(len(targets + given) for targets, given in many) * evaluated.settings.importance_samples
    few = min(evaluated.settings.rows, max(FEWEST, DECODED // max(decoded, 1)))
    estimates = {}
    for one in conditional:
        scores = _score(evaluated, one, few if one in many else evaluated.settings.rows)
        if len(scores.complete) > 1:
            estimates[one] = scores
    return estimates


def _score(evaluated: EvaluatedModel, conditional: Asked, most: int) -> Scores:
    """The whole is scored of all rows that have something of it; all else of those that have it all."""
    targets, given = conditional
    names = tuple(name for name in evaluated.manifest.names if name in targets + given)
    complete_rows = observed_all(evaluated.test, names)
    if targets == evaluated.manifest.names:
        complete_rows = np.any([observed(evaluated.test, name) for name in names], axis=0)
    rows = evaluated.test.take(torch.from_numpy(np.flatnonzero(complete_rows)[:most]))
    estimate = log_prob(evaluated, rows, targets, given)
    experts, present = evaluated.experts(rows, names)
    wide = Gaussian(experts.mu.astype(np.float64), experts.log_var.astype(np.float64))
    apart = disagreement(wide, present)
    return Scores(observed_all(rows, names), estimate["log_prob"], estimate["ess"], apart)


def log_prob(
    evaluated: EvaluatedModel, rows: Rows, targets: Sequence[str], given: Sequence[str] = ()
) -> Mapping[str, Array]:
    """Estimates log p(x_T | x_S) of each row by importance sampling, see ``models_store/evidence.py``.

    Returns:
        ``log_prob``, ``std_error`` and ``ess``, each (n,).
    """
    rng = evaluated.rng()
    each = (rows.take(slice(index, index + 1)) for index in range(len(rows)))
    columns = [_log_prob(evaluated, row, targets, given, rng) for row in each]
    return {
        key: np.concatenate([getattr(e, key) for e in columns]) if columns else np.zeros(0)
        for key in ("log_prob", "std_error", "ess")
    }


def _log_prob(
    evaluated: EvaluatedModel,
    row: Rows,
    targets: Sequence[str],
    given: Sequence[str],
    rng: np.random.Generator,
) -> Evidence:
    names = [*targets, *given]
    posteriors = [evaluated.posterior(row, names_given) for names_given in (names, given) if names_given]
    proposals = defensive(posteriors, evaluated.settings.importance_samples)
    shape = (1, evaluated.manifest.latent_dim)
    (z,) = proposals.sample(
        lambda count: rng.standard_normal((count, *shape), np.float32), at_once=proposals.draws
    )
    pairs = []
    for name in names:
        modality = evaluated.manifest.modality(name)
        decoded = evaluated.graphs.decode(name, z[:, 0])
        wide = {key: value[:, None] for key, value in decoded.items()}
        cells = modality.distribution.row_log_prob(row.data[name].numpy(), wide)
        pairs.append((cells, observed(row, name)))
    weights = log_weights(z, proposals, pairs[: len(targets)], pairs[len(targets) :])
    return estimate(weights.astype(np.float64), proposals)


def log_probs(
    evaluated: EvaluatedModel, scores: Mapping[Asked, Scores]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Of every question: the mean, in nats per row, and its standard error over the rows."""
    for (targets, given), estimates in scores.items():
        values = estimates.log_prob
        yield (
            question(targets, given),
            {
                "mean": round(float(values.mean()), 3),
                "std_error": round(float(values.std(ddof=1) / np.sqrt(len(values))), 3),
                "median_ess": round(float(np.median(estimates.ess)), 1),
                "rows": len(values),
                "K": evaluated.settings.importance_samples,
            },
        )


def references(evaluated: EvaluatedModel, scores: Mapping[Asked, Scores]) -> dict[str, Reference]:
    """By question, how the held-out rows that have all of it scored: what ``p_value`` compares with."""
    estimates = {}
    for (targets, given), conditional in scores.items():
        values = conditional.log_prob[conditional.complete]
        if len(values) < FEWEST_REFERENCE or not np.isfinite(values).all():
            continue
        apart = None
        if not given and len(targets) > 1:
            apart = _quantiles(conditional.disagreement[conditional.complete])
        estimates[question(targets, given)] = Reference(
            K=evaluated.settings.importance_samples,
            rows=len(values),
            quantiles=_quantiles(values),
            disagreement=apart,
        )
    return estimates


def _quantiles(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in np.quantile(values, LEVELS))
