"""Rows of several modalities, some of them missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import torch
from torch import Tensor

from models_store.manifest import Modality


class Source(Protocol):
    """What rows to train on come from: rows as they are, or pools that are paired anew in every epoch."""

    def __len__(self) -> int:
        """The number of rows in an epoch."""

    def only(self, names: Sequence[str]) -> Self:
        """The modalities of these names, in their order."""

    def head(self, count: int | None) -> Self:
        """The first rows; all of them for None."""

    def hold_out(self, count: int, seed: int) -> tuple[Self, Rows]:
        """What is left without ``count`` rows, and these rows; nothing is in both."""

    def in_epoch(self, seed: int, epoch: int) -> Rows:
        """The rows of one epoch, the same whatever came before it."""


@dataclass(frozen=True)
class Rows:
    """What MVAE takes as inputs.

    Arguments:
        data: By modality, (n, *shape) in the user's units and dtype.
        masks: By modality, boolean (n,): True where observed. A modality without a mask is always there.
    """

    data: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.data.values())))

    def take(self, index: Tensor | slice) -> Rows:
        """The rows of that index, in its order."""
        return self._each(lambda x: x[index])

    def to(self, device: torch.device) -> Rows:
        """The same rows there."""
        return self._each(lambda x: x.to(device))

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
        """The first rows; all of them for None."""
        return self.take(slice(count))

    def only(self, names: Sequence[str]) -> Rows:
        """The modalities of these names, in their order."""
        return Rows(
            {name: self.data[name] for name in names},
            {name: self.masks[name] for name in names if name in self.masks},
        )

    def hold_out(self, count: int, seed: int) -> tuple[Rows, Rows]:
        """The rows without ``count`` random ones, in their order, and those."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[count:].sort().values), self.take(order[:count])

    def in_epoch(self, seed: int, epoch: int) -> Rows:  # noqa: ARG002 - the same in every epoch
        return self


@dataclass(frozen=True)
class Splits:
    """What a source gives: its modalities, each with the likelihood usual for its kind, and its rows.

    Arguments:
        modalities: All that it has.
        train: To train on.
        test: Never trained on.
        validation: Held out already; None: to be taken from ``train``.
    """

    modalities: tuple[Modality, ...]
    train: Source
    test: Rows
    validation: Rows | None = None
