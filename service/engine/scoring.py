r"""Scores :math:`\log p(x_T \mid x_S)`: the draws behind them, and their references. Pure numpy.

The estimates are those of ``models_store/evidence``.

The draws of a row belong to the seed, the row and the modalities that are scored and given. So the score of a
row does not depend on the others, and two different sets have independent draws.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models_store.arrays import Array
from models_store.evidence import ESTIMATOR, Decoded, Evidence, Noise, Question, Request, Target
from models_store.linear import Posterior
from models_store.manifest import Modality, Reference
from models_store.members import Members
from service.engine.draws import generator
from service.engine.observations import Observations

LEAST_AT_ONCE, POINTS_AT_ONCE = 100, 2048
"""Points of a row that are decoded together at least, as each step has a price of its own; and of all rows at
most, so that a step takes a fraction of a second."""


def portions(at_once: int, draws: int, cells: int, most: int) -> tuple[int, int]:
    """Returns how many points of a row, and how many rows, are decoded together; scores do not depend on it.

    Arguments:
        at_once: Requested number of points of a row.
        draws: Number K of draws of a row.
        cells: Decoded numbers of a point.
        most: Decoded numbers of a step.
    """
    room = max(1, min(POINTS_AT_ONCE, most // cells))
    points = min(max(at_once, LEAST_AT_ONCE), draws, room)
    return points, room // points


@dataclass(frozen=True)
class Scored:
    """Scores of n rows.

    Arguments:
        condition: Names of the given modalities S.
        targets: Names of the scored modalities T.
        questions: Conditional distribution per row, of the modalities that it has, such as ``label|image``.
        evidence: Score log p(x_T | x_S) with its error, (n,) each.
        p_value: Two-sided p-value of the score among held-out rows, (n,); NaN without a reference.
    """

    condition: tuple[str, ...]
    targets: tuple[str, ...]
    questions: Sequence[str]
    evidence: Evidence
    p_value: Array


def noise(seed: int, observations: Observations, rows: slice, names: Sequence[str], dimension: int) -> Noise:
    """Sources of standard normal draws, one per row; a row's draws do not depend on the other rows.

    Arguments:
        seed: Seed of the request.
        observations: Rows of the request.
        rows: Range of rows to draw for.
        names: Scored and given modalities.
        dimension: Latent dimension D.
    """
    present = {name: observations.columns[name].present for name in names}

    def of(row: int) -> Callable[[int], Array]:
        observed = ",".join(name for name in names if present[name][row])
        rng = generator(seed, observations.first_row + row, f"score {observed}")
        return lambda count: rng.standard_normal((count, dimension), np.float32)

    return [of(row) for row in range(rows.start, rows.stop)]


def question(
    given: Posterior,
    posterior: Posterior,
    targets: Sequence[Modality],
    observations: Observations,
    rows: slice,
    members: Members | None = None,
) -> Question:
    """The scored distribution of a range of rows.

    Arguments:
        given: q(z | x_S) of all rows; the standard normal without a condition.
        posterior: q(z | x_S, x_T) of all rows.
        targets: Modalities in T.
        observations: Rows of the request.
        rows: Range of rows to score.
        members: Models of an ensemble.
    """
    columns = [(modality, observations.columns[modality.name]) for modality in targets]
    return Question(
        given.of(rows),
        posterior.of(rows),
        [Target(m.name, m.distribution, column.values[rows], column.present[rows]) for m, column in columns],
        members,
    )


def advance(estimates: Generator[Request, Decoded, Evidence], decoded: Decoded | None) -> Request | Evidence:
    """Sends decoded points to a generator of estimates; returns the next points, or at last the estimates.

    ``StopIteration`` cannot pass through a future, so threads call this.
    """
    try:
        return next(estimates) if decoded is None else estimates.send(decoded)
    except StopIteration as finished:
        result: Evidence = finished.value
        return result


def questions_of(targets: Sequence[str], condition: Sequence[str], present: Mapping[str, Array]) -> list[str]:
    """Conditional distribution per row: `label|image` is the label given the image, `image,label` both.

    Arguments:
        targets: Names of the scored modalities.
        condition: Names of the given modalities.
        present: Mask of the rows that have a modality, (n,), by name.
    """
    rows = zip(*(present[name] for name in (*targets, *condition)), strict=True)
    return [
        _question(
            [name for name, seen in zip(targets, row, strict=False) if seen],
            [name for name, seen in zip(condition, row[len(targets) :], strict=True) if seen],
        )
        for row in rows
    ]


def p_values(
    questions: Sequence[str], log_probs: Array, draws: int, reference: Mapping[str, Reference] | None
) -> Array:
    """Two-sided p-values 2 min(F, 1 - F), F the share of held-out rows that score lower: (n,).

    At least 1 / (rows + 1), at most 1; NaN without a reference of the same K and estimator.

    Arguments:
        questions: Conditional distribution per row.
        log_probs: Scores, (n,).
        draws: Number K of importance samples.
        reference: Scores of held-out rows, by conditional distribution.
    """
    reference = reference or {}
    rows = zip(questions, log_probs, strict=True)
    return np.array(
        [_p_value(float(log_prob), reference.get(question), draws) for question, log_prob in rows]
    )


def _question(targets: Sequence[str], condition: Sequence[str]) -> str:
    return "|".join(",".join(names) for names in (targets, condition) if names)


def _p_value(log_prob: float, entry: Reference | None, draws: int) -> float:
    # The logarithm of an average is biased downwards, the less the more draws: only the same K compares.
    if entry is None or draws != entry.K or entry.estimator != ESTIMATOR:
        return float("nan")
    quantiles = entry.quantiles
    lower = float(np.interp(log_prob, quantiles, np.linspace(0, 1, len(quantiles))))
    return max(2 * min(lower, 1 - lower), 1 / (entry.rows + 1))
