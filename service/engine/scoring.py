r"""Scores :math:`\log p(x_T \mid x_S)`: the draws behind them, and their references. Pure numpy.

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
    """Scores of n rows.

    Arguments:
        condition: Names of the given modalities S.
        targets: Names of the scored modalities T.
        questions: Conditional distribution per row, of the modalities that it has, such as ``label|image``.
        evidence: Score log p(x_T | x_S) with its error, (n,) each.
        p_value: Share of held-out rows that score lower, (n,); NaN without a reference.
    """

    condition: tuple[str, ...]
    targets: tuple[str, ...]
    questions: Sequence[str]
    evidence: Evidence
    p_value: Array


class Noise:
    """Standard normal draws of consecutive rows; they do not depend on the sizes of portions.

    Arguments:
        seed: Seed of the request.
        observations: Rows of the request.
        rows: Range of rows to draw for.
        names: Scored and given modalities.
        dimension: Latent dimension D.
    """

    def __init__(
        self, seed: int, observations: Observations, rows: slice, names: Sequence[str], dimension: int
    ) -> None:
        self._dimension = dimension
        self._generators = []
        present = {name: observations.columns[name].present for name in names}
        for row in range(rows.start, rows.stop):
            observed = ",".join(name for name in names if present[name][row])
            self._generators.append(generator(seed, observations.first_row + row, f"score {observed}"))

    def draw(self, count: int) -> Array:
        """The next draws: (count, n, D)."""
        shape = (count, self._dimension)
        return np.stack([rng.standard_normal(shape, np.float32) for rng in self._generators], axis=1)


@dataclass(frozen=True)
class Piece:
    """Rows that are scored at a time.

    Arguments:
        observations: Rows of the request.
        rows: Range of the n rows of this piece.
        modalities: Modalities in T and S.
        given: Names of the modalities in S.
        proposals: Proposal distribution of z.
    """

    observations: Observations
    rows: slice
    modalities: Sequence[Modality]
    given: Sequence[str]
    proposals: Proposals

    def present(self, name: str) -> Array:
        """Mask of the rows that have a modality, (n,)."""
        return self.observations.columns[name].present[self.rows]

    def log_weights(self, z: Array, decoded: Sequence[Parameters]) -> Array:
        """Log-weights of T and S together, and of S alone, (1 or 2, count, n).

        Arguments:
            z: Draws from the proposals, (count, n, D).
            decoded: Parameters of p(x | z) per modality, of the rows that have it.
        """
        scored: list[tuple[Array, Array]] = []
        given: list[tuple[Array, Array]] = []
        for modality, parameters in zip(self.modalities, decoded, strict=True):
            present = self.present(modality.name)
            log_likelihood = np.zeros(z.shape[:2])
            if present.any():
                x = self.observations.columns[modality.name].values[self.rows][present]
                log_likelihood[:, present] = modality.distribution.row_log_prob(x, parameters)
            (given if modality.name in self.given else scored).append((log_likelihood, present))
        return np.asarray(log_weights(z, self.proposals, scored, given))


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
    """Share of held-out rows that score lower, (n,), at least 1 / (rows + 1); NaN without a reference.

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
    # The estimate is biased downwards, the less the more draws: only the same K compares.
    if entry is None or draws != entry.K:
        return float("nan")
    quantiles = entry.quantiles
    lower = np.interp(log_prob, quantiles, np.linspace(0, 1, len(quantiles)))
    return max(float(lower), 1 / (entry.rows + 1))
