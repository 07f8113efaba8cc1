"""Rows of several modalities, some of them missing, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from models_store.manifest import Modality


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
        return Rows(
            {name: x[index] for name, x in self.data.items()},
            {name: mask[index] for name, mask in self.masks.items()},
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


@dataclass(frozen=True)
class Splits:
    """What a source gives: its modalities, each with the likelihood usual for its kind, and its rows."""

    modalities: tuple[Modality, ...]
    train: Rows
    test: Rows
