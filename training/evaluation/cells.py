"""Cells of tables of mixed columns, each predicted from what else a held-out row has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from models_store.arrays import Array
from models_store.calibration import COVERAGES
from models_store.kinds.fields import Column
from models_store.likelihoods import Mixed
from models_store.linear import Posterior
from models_store.manifest import Modality
from models_store.quantiles import quantiles
from training.data.rows import Rows
from training.evaluation.evaluated import CHUNK, EvaluatedModel, observed
from training.evaluation.predicting import DRAWS


class CellPrediction(NamedTuple):
    """Predictions of one column for n rows.

    Arguments:
        mean: Means of numbers, (n, 1), or probabilities of labels, (n, labels).
        low: Lower ends of the intervals of :data:`COVERAGES`, (n, coverages, 1); None for labels.
        high: Their upper ends, same shape.
    """

    mean: Array
    low: Array | None = None
    high: Array | None = None


@dataclass(frozen=True)
class Cell:
    """A column of a table of mixed columns.

    Arguments:
        table: The table.
        at: Index of the column.
    """

    table: Modality
    at: int

    @property
    def column(self) -> Column:
        return (self.table.columns or ())[self.at]

    @property
    def name(self) -> str:
        """Name in metrics: ``table.column``."""
        return f"{self.table.name}.{self.column.name}"

    @cached_property
    def target(self) -> Modality:
        """The column as a modality, which has the name of the table."""
        part = self.table.parts[self.at]
        fields = {"name": self.table.name, "likelihood": part.likelihood}
        if part.labels:
            return Modality.model_validate(
                {**fields, "kind": "category", "shape": (), "dtype": "int64", "labels": self.column.labels}
            )
        kind = "counts" if part.family.of_counts else "vector"
        return Modality.model_validate({**fields, "kind": kind, "shape": (1,), "dtype": "float32"})

    def alone(self, rows: Rows) -> Rows:
        """The column as rows of :attr:`target`."""
        x = rows.data[self.table.name][:, self.at]
        present = ~x.isnan() & torch.from_numpy(observed(rows, self.table.name))
        filled = torch.where(present, x, 0.0)
        values = filled.to(torch.int64) if self.target.labels else torch.where(present, x, torch.nan)[:, None]
        return Rows({self.table.name: values}, {self.table.name: present})

    def hidden(self, rows: Rows) -> tuple[Rows, Array]:
        """Rows that have this cell and something else, without the cell, and their indices."""
        name = self.table.name
        x = rows.data[name].clone()
        x[~torch.from_numpy(observed(rows, name))] = torch.nan
        has = ~x[:, self.at].isnan()
        x[:, self.at] = torch.nan
        further = ~x.isnan().all(dim=1)
        views = [torch.from_numpy(observed(rows, other)) for other in rows.data if other != name]
        usable = has & torch.stack([further, *views]).any(dim=0)
        whole = Rows({**rows.data, name: x}, {**rows.masks, name: further})
        return whole.take(usable), np.flatnonzero(usable.numpy())


def cells_of(table: Modality) -> list[Cell]:
    """The columns of a table of mixed columns; none of another kind."""
    return [Cell(table, at) for at in range(len(table.parts))]


def predict(evaluated: EvaluatedModel, cell: Cell, rows: Rows, given: Sequence[str] = ()) -> CellPrediction:
    """Predicts a hidden cell from modalities of rows, by default all, as ``/generate`` answers it."""
    rng, parts = evaluated.rng(), []
    for z in _draws(evaluated.posterior(rows, given or evaluated.manifest.names), rng):
        decoded = evaluated.graphs.decode(cell.table.name, z.reshape(-1, z.shape[-1]).astype(np.float32))
        parts.append(_predicted(cell, {k: v.reshape(*z.shape[:2], -1) for k, v in decoded.items()}, rng))
    means, lows, highs = zip(*parts, strict=True)
    if cell.target.labels:
        return CellPrediction(np.concatenate(means))
    return CellPrediction(*(np.concatenate(side) for side in (means, lows, highs)))


def _draws(posterior: Posterior, rng: np.random.Generator) -> Iterator[Array]:
    """Draws of z of consecutive rows, (some rows, DRAWS, latent_dim)."""
    step = max(1, CHUNK // DRAWS)
    for start in range(0, len(posterior.mu), step):
        some = posterior.of(slice(start, start + step))
        yield some.sample(rng.standard_normal((len(some), DRAWS, some.mu.shape[-1]), np.float32))


def _predicted(cell: Cell, decoded: dict[str, Array], rng: np.random.Generator) -> CellPrediction:
    mixed = cell.table.distribution
    if not isinstance(mixed, Mixed):
        raise TypeError(f"'{cell.table.name}' is no table of mixed columns")
    family, parameters = list(mixed.columns(decoded))[cell.at]
    mean = family.mean(parameters).mean(axis=1)
    if cell.target.labels:
        return CellPrediction(mean)
    tails = [(1 - coverage) / 2 for coverage in COVERAGES]
    ends = quantiles(family.sample(parameters, rng), [*tails, *(1 - tail for tail in tails)], axis=1)[
        ..., None
    ]
    return CellPrediction(mean[:, None], ends[:, : len(tails)], ends[:, len(tails) :])
