"""log p(x_T | x_S) of held-out rows: means for the card, quantiles for ``p_value``.

log p(x_S) uses the rows with all of S; the joint of all modalities uses the rows with any modality;
log p(x_T | x_S), the density that ``/generate`` draws from, uses the rows with all of T and S.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models_store.arrays import Array
from models_store.evidence import ESTIMATOR, Evidence, Question, Target, answered, estimating, joined
from models_store.evidence.mixture import Draw
from models_store.fusion import Gaussian, disagreement, standard_normal
from models_store.linear import Posterior
from models_store.manifest import Reference
from training.data.rows import Rows
from training.evaluation.evaluated import (
    ALL_SUBSETS,
    EvaluatedModel,
    observed,
    observed_all,
    question,
    subsets,
)
from training.evaluation.metrics import LogProb

DECODED = 6_000_000
"""Budget of decoded rows for all conditionals and for subsets between one modality and the whole."""
FEWEST = 100
"""Least number of rows for each of those, even beyond the budget."""
LEVELS = np.linspace(0, 1, 101)
TOGETHER, AT_ONCE = 25, 250
"""Rows that are scored together, and points of each that are decoded together."""
FEWEST_REFERENCE = 20
"""Least number of rows for reference quantiles."""


@dataclass(frozen=True)
class Scores:
    """Scores of n rows under one distribution p(x_T | x_S).

    Arguments:
        complete: Whether the row has all of T and S: boolean, (n,).
        log_prob: Estimate of log p(x_T | x_S), in nats: (n,).
        ess: Effective sample size of the estimate: (n,).
        reliable: Whether the estimate lies within its error: boolean, (n,).
        disagreement: Disagreement between the experts of T and S, in nats: (n,).
    """

    complete: Array
    log_prob: Array
    ess: Array
    reliable: Array
    disagreement: Array


Subset = tuple[str, ...]
Conditional = tuple[Subset, Subset]
"""T and S of p(x_T | x_S); S is () for a marginal."""


def questions(names: Sequence[str]) -> list[Conditional]:
    """Returns the scored distributions: subsets alone, subsets given all others, and single given single.

    Of more than ``ALL_SUBSETS`` modalities, the subsets are single ones and all, and none is given a single
    one: to score pairs takes many times as long as to train on a small table.
    """
    few = len(names) <= ALL_SUBSETS
    conditional: list[Conditional] = []
    for targets in subsets(names) if few else [*((name,) for name in names), tuple(names)]:
        rest = tuple(name for name in names if name not in targets)
        conditional += [(targets, ()), (targets, rest)] if rest else [(targets, ())]
        if few and len(targets) == 1:
            conditional += [(targets, (other,)) for other in rest if (other,) != rest]
    return conditional


def score(evaluated: EvaluatedModel) -> dict[Conditional, Scores]:
    """Scores held-out rows under every distribution for which at least two rows have all modalities."""
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


def _score(evaluated: EvaluatedModel, conditional: Conditional, most: int) -> Scores:
    """Scores rows with any modality under the joint of all, and complete rows under other distributions."""
    targets, given = conditional
    names = tuple(name for name in evaluated.manifest.names if name in targets + given)
    complete_rows = observed_all(evaluated.test, names)
    if targets == evaluated.manifest.names:
        complete_rows = np.any([observed(evaluated.test, name) for name in names], axis=0)
    rows = evaluated.test.take(torch.from_numpy(np.flatnonzero(complete_rows)[:most]))
    estimate = log_prob(evaluated, rows, targets, given)
    experts = evaluated.experts(rows, names)
    wide = Gaussian(experts.mu.astype(np.float64), experts.log_var.astype(np.float64))
    apart = sum(
        weight * disagreement(Gaussian(wide.mu[..., part], wide.log_var[..., part]), experts.present)
        for weight, part in evaluated.manifest.mixture.parts
    )
    return Scores(observed_all(rows, names), estimate.log_prob, estimate.ess, estimate.reliable, apart)


def log_prob(
    evaluated: EvaluatedModel, rows: Rows, targets: Sequence[str], given: Sequence[str] = ()
) -> Evidence:
    """Estimates log p(x_T | x_S) of each row by importance sampling, see ``models_store/evidence``."""
    pieces = [
        _log_prob(evaluated, rows.take(slice(start, start + TOGETHER)), targets, given, start)
        for start in range(0, len(rows), TOGETHER)
    ]
    return joined(pieces)


def _log_prob(
    evaluated: EvaluatedModel, rows: Rows, targets: Sequence[str], given: Sequence[str], first: int
) -> Evidence:
    posterior = evaluated.posterior(rows, [*targets, *given])
    condition = evaluated.posterior(rows, given) if given else Posterior(*standard_normal(posterior.mu))
    scored = [
        Target(
            name,
            evaluated.manifest.modality(name).distribution,
            rows.data[name].numpy(),
            observed(rows, name),
        )
        for name in targets
    ]
    noise = [_draws(evaluated, first + row) for row in range(len(rows))]
    question = Question(condition, posterior, scored, evaluated.manifest.mixture)
    draws = evaluated.settings.importance_samples
    return answered(estimating(question, noise, draws, AT_ONCE), evaluated.graphs.decode)


def _draws(evaluated: EvaluatedModel, row: int) -> Draw:
    rng, dimension = np.random.default_rng([evaluated.seed, row]), evaluated.manifest.mixture.dimension
    return lambda count: rng.standard_normal((count, dimension), np.float32)


def log_probs(
    evaluated: EvaluatedModel, scores: Mapping[Conditional, Scores]
) -> Iterator[tuple[str, LogProb]]:
    """Yields the name and the summary of each distribution's scores."""
    for (targets, given), estimates in scores.items():
        values = estimates.log_prob
        yield (
            question(targets, given),
            {
                "mean": round(float(values.mean()), 3),
                "std_error": round(float(values.std(ddof=1) / np.sqrt(len(values))), 3),
                "median_ess": round(float(np.median(estimates.ess)), 1),
                "reliable": round(float(estimates.reliable.mean()), 3),
                "rows": len(values),
                "K": evaluated.settings.importance_samples,
            },
        )


def references(evaluated: EvaluatedModel, scores: Mapping[Conditional, Scores]) -> dict[str, Reference]:
    """Returns the reference scores of complete held-out rows by distribution, for ``p_value``."""
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
            estimator=ESTIMATOR,
        )
    return estimates


def _quantiles(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in np.quantile(values, LEVELS))
