r"""Scores :math:`\log p(x_T \mid x_S)`: the draws behind them, and what they are worth. Pure numpy.

The draws of a row belong to the seed, the row and the set of modalities that they explain. So the score
of a row does not depend on the others, two different sets have independent draws, and under one seed
the chain rule holds to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models_store.evidence import Evidence
from models_store.manifest import Reference
from service.predictive import Array, generator


@dataclass(frozen=True)
class Scored:
    """What was scored, and by row, each (n,), how it scored.

    Arguments:
        condition: The names of what was given.
        targets: The names of what was scored.
        questions: Of what each row has of them, such as ``label|image``.
        evidence: The score with its error.
        p_value: The share of held-out rows that score lower; NaN where no reference is known.
    """

    condition: tuple[str, ...]
    targets: tuple[str, ...]
    questions: Sequence[str]
    evidence: Evidence
    p_value: Array


class Noise:
    """Standard normal draws of consecutive rows, the same in whatever portions they are taken.

    Arguments:
        seed: Of the request.
        first_row: The number of the first row in the request.
        names: The modalities.
        present: Which of them is observed in which row: (M, n).
        dimension: D.
    """

    def __init__(
        self, seed: int, first_row: int, names: Sequence[str], present: Array, dimension: int
    ) -> None:
        self._dimension = dimension
        self._generators = []
        for row, observed in enumerate(present.T):
            own = ",".join(name for name, seen in zip(names, observed, strict=True) if seen)
            self._generators.append(generator(seed, first_row + row, f"score {own}"))

    def draw(self, count: int) -> Array:
        """The next draws: (count, n, D)."""
        shape = (count, self._dimension)
        return np.stack([rng.standard_normal(shape, np.float32) for rng in self._generators], axis=1)


def questions_of(targets: Sequence[str], condition: Sequence[str], present: Mapping[str, Array]) -> list[str]:
    """By row what it has of both: `label|image` is the label given the image, `image,label` both.

    Arguments:
        targets: The names of what is scored.
        condition: The names of what is given.
        present: By name, which rows have it: (n,).
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
    """By row the share of held-out rows that score lower, at least 1 / (rows + 1); NaN where it is not known.

    Arguments:
        questions: One per row.
        log_probs: The scores.
        draws: K.
        reference: By question, how held-out rows scored.
    """
    known = reference or {}
    rows = zip(questions, log_probs, strict=True)
    return np.array([_p_value(float(log_prob), known.get(question), draws) for question, log_prob in rows])


def _question(targets: Sequence[str], condition: Sequence[str]) -> str:
    return "|".join(",".join(names) for names in (targets, condition) if names)


def _p_value(log_prob: float, entry: Reference | None, draws: int) -> float:
    # The estimate is biased downwards, the less the more draws: only the same K compares.
    if entry is None or draws != entry.K:
        return float("nan")
    quantiles = entry.quantiles
    lower = np.interp(log_prob, quantiles, np.linspace(0, 1, len(quantiles)))
    return max(float(lower), 1 / (entry.rows + 1))
