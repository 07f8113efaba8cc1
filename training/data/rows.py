"""Rows of several modalities, some of them missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from models_store.manifest import Modality
from models_store.tables.dialect import TrainingTable


def with_hidden_cells(x: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Values with NaN in a random share of their cells; and these cells, with NaN in all others."""
    hidden = torch.from_numpy(rng.random(x.shape) < share)
    return x.masked_fill(hidden, math.nan), x.masked_fill(~hidden, math.nan)


class Source(Protocol):
    """A source of training rows: fixed rows, or pools that are paired anew in every epoch."""

    def __len__(self) -> int:
        """Returns the number of rows in an epoch."""

    def only(self, names: Sequence[str]) -> Self:
        """Selects modalities, in this order."""

    def head(self, count: int | None) -> Self:
        """Selects the first rows; all of them for None."""

    def hold_out(self, count: int, seed: int) -> tuple[Self, Rows]:
        """Splits off ``count`` rows; returns the remaining rows and the held-out ones."""

    def in_epoch(self, seed: int, epoch: int) -> Rows:
        """Returns the rows of one epoch; they depend on the seed and the epoch only."""


@dataclass(frozen=True)
class Rows:
    """Inputs of MVAE.

    Arguments:
        data: Values by modality, (n, *shape), in the user's units and dtype.
        masks: Boolean masks by modality, (n,), True where observed. A modality without a mask is observed
            in all rows.
    """

    data: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.data.values())))

    def take(self, index: Tensor | slice) -> Rows:
        """Selects rows, in the order of the index."""
        return self._each(lambda x: x[index])

    def to(self, device: torch.device) -> Rows:
        """Copies the rows to a device."""
        return self._each(lambda x: x.to(device))

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Shape of a row of each modality."""
        return {name: x.shape[1:] for name, x in self.data.items()}

    @property
    def device(self) -> torch.device:
        return next(iter(self.data.values())).device

    @property
    def size_in_bytes(self) -> int:
        return sum(x.nbytes for part in (self.data, self.masks) for x in part.values())

    def _each(self, of: Callable[[Tensor], Tensor]) -> Rows:
        return Rows(
            {name: of(x) for name, x in self.data.items()},
            {name: of(mask) for name, mask in self.masks.items()},
        )

    def head(self, count: int | None) -> Rows:
        """Selects the first rows; all of them for None."""
        return self.take(slice(count))

    def only(self, names: Sequence[str]) -> Rows:
        """Selects modalities, in this order."""
        return Rows(
            {name: self.data[name] for name in names},
            {name: self.masks[name] for name in names if name in self.masks},
        )

    def hold_out(self, count: int, seed: int) -> tuple[Rows, Rows]:
        """Splits off ``count`` random rows; the remaining rows keep their order."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[count:].sort().values), self.take(order[:count])

    def in_epoch(self, seed: int, epoch: int) -> Rows:  # noqa: ARG002 - the same in every epoch
        return self


def exchanged(train: Rows, held: Rows, number: int, parts: int, seed: int) -> tuple[Rows, Rows]:
    """Holds out another part of the rows: the rows for training, in their order, and those held out.

    Arguments:
        train: Rows for training.
        held: Rows held out, which are part 0.
        number: Number of the part, from 0 to ``parts`` - 1.
        parts: Number of parts. They have no row in common where together they are no larger than all rows.
        seed: Seed of the order in which training rows become parts.
    """
    if not number:
        return train, held
    both = joined(held, train)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)) + len(held)
    order = torch.cat([torch.arange(len(held)), order])
    start = number * len(both) // parts
    out = torch.zeros(len(both), dtype=torch.bool)
    out[order[(torch.arange(len(held)) + start) % len(both)]] = True
    return both.take(~out), both.take(out)


def joined(first: Rows, second: Rows) -> Rows:
    """The rows of both, which have the same modalities."""

    def mask(rows: Rows, name: str) -> Tensor:
        return rows.masks.get(name, torch.ones(len(rows), dtype=torch.bool))

    return Rows(
        {name: torch.cat([x, second.data[name]]) for name, x in first.data.items()},
        {
            name: torch.cat([mask(first, name), mask(second, name)])
            for name in first.data
            if name in first.masks or name in second.masks
        },
    )


@dataclass(frozen=True)
class Share:
    """One process's part of a batch.

    Arguments:
        rows: Which rows of the batch it takes, (n,), or all of them as a slice.
        weights: Factors of its averages (loss, elbo, kl, and the log-likelihood of each of M modalities) with
            which the sum over all processes is the average over the batch: (3 + M,).
    """

    rows: Tensor | slice
    weights: Tensor


@dataclass(frozen=True)
class Batch:
    """A batch of an epoch.

    Arguments:
        size: Number of rows of the whole batch.
        share: This process's part of it.
        rows: Rows of this part.
        source: Rows that hold the whole batch, ...
        index: ... and its rows among them; None where this process holds only its part.
    """

    size: int
    share: Share
    rows: Rows
    source: Rows
    index: Tensor | None = None


class EpochRows(Protocol):
    """Training rows of an epoch that are not held together."""

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Shape of a row of each modality."""

    def __len__(self) -> int:
        """Returns the number of rows, over all processes."""

    def batches(self, size: int, names: Sequence[str], fabric: Fabric) -> Iterator[Batch]:
        """Yields the batches; every process of ``fabric`` must take all of them."""


@dataclass(frozen=True)
class Splits:
    """Modalities of a source, each with the usual likelihood of its kind, and its rows.

    Arguments:
        modalities: All modalities of the source.
        train: Training rows.
        test: Test rows.
        validation: Validation rows; None to take them from ``train``.
        tables: Tables that hold the modalities, as a manifest describes them.
    """

    modalities: tuple[Modality, ...]
    train: Source
    test: Rows
    validation: Rows | None = None
    tables: tuple[TrainingTable, ...] = ()
