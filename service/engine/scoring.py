r"""Scores :math:`\log p(x_T \mid x_S)`: the draws behind them, and what they are worth. Pure numpy.

The draws of a row belong to the seed, the row and the modalities that are scored and given. So the score of a
row does not depend on the others, and two different sets have independent draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models_store.arrays import Array
from models_store.evidence import Evidence, Proposals, log_weights
from models_store.likelihoods import Parameters
from models_store.manifest import Modality, Reference
from service.engine.draws import generator
from service.engine.observations import Observations


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
        observations: What was sent.
        rows: Which of its rows.
        names: The modalities that are scored and given.
        dimension: D.
    """

    def __init__(
        self, seed: int, observations: Observations, rows: slice, names: Sequence[str], dimension: int
    ) -> None:
        self._dimension = dimension
        self._generators = []
        present = {name: observations.columns[name].present for name in names}
        for row in range(rows.start, rows.stop):
            own = ",".join(name for name in names if present[name][row])
            self._generators.append(generator(seed, observations.first_row + row, f"score {own}"))

    def draw(self, count: int) -> Array:
        """The next draws: (count, n, D)."""
        shape = (count, self._dimension)
        return np.stack([rng.standard_normal(shape, np.float32) for rng in self._generators], axis=1)


@dataclass(frozen=True)
class Piece:
    """Rows that are scored at a time.

    Arguments:
        observations: What was sent.
        rows: Which of its rows, n.
        modalities: Those in T and S.
        given: The names of those in S.
        proposals: Where draws of z come from.
    """

    observations: Observations
    rows: slice
    modalities: Sequence[Modality]
    given: Sequence[str]
    proposals: Proposals

    def present(self, name: str) -> Array:
        """Which of the rows have that modality: (n,)."""
        return self.observations.columns[name].present[self.rows]

    def log_weights(self, z: Array, decoded: Sequence[Parameters]) -> Array:
        """Of draws of z, (count, n, D): the log-weights of T and S together, and of S alone.

        Arguments:
            z: From the proposals.
            decoded: By modality the parameters of p(x | z), of the rows that have it.
        """
        asked: list[tuple[Array, Array]] = []
        given: list[tuple[Array, Array]] = []
        for modality, parameters in zip(self.modalities, decoded, strict=True):
            present = self.present(modality.name)
            log_likelihood = np.zeros(z.shape[:2])
            if present.any():
                x = self.observations.columns[modality.name].values[self.rows][present]
                log_likelihood[:, present] = modality.distribution.row_log_prob(x, parameters)
            (given if modality.name in self.given else asked).append((log_likelihood, present))
        return np.asarray(log_weights(z, self.proposals, asked, given))


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
