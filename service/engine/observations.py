"""What was sent, as arrays: one column of rows per modality."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models_store.arrays import Array
from models_store.errors import listed
from service.errors import WrongInput


class Column(NamedTuple):
    """One modality of a request.

    Arguments:
        values: (n, *shape) in the modality's dtype; anything where missing.
        mask: Boolean (n,), which rows have it; None: every row.
    """

    values: Array
    mask: Array | None = None

    @property
    def present(self) -> Array:
        """Which rows have it, boolean (n,)."""
        return np.ones(len(self.values), bool) if self.mask is None else self.mask

    @property
    def complete(self) -> bool:
        """Whether every row has it."""
        return self.mask is None or bool(self.mask.all())


@dataclass(frozen=True)
class Table:
    """A table as it was sent, cell by cell.

    Arguments:
        header: The names of its columns.
        lines: The rows below.
        keep: Names of columns that are none of the model's, and are only to be kept.
    """

    header: tuple[str, ...]
    lines: Sequence[Sequence[str]]
    keep: Collection[str] = ()


class Observations(NamedTuple):
    """What was sent: one column per modality sent, all with n rows.

    Arguments:
        columns: By modality.
        n: How many rows.
        table: What they were read from, where it was a table.
        first_row: The number of the first row, where they are a piece of something longer.
    """

    columns: Mapping[str, Column]
    n: int
    table: Table | None = None
    first_row: int = 0


def check_observed(observations: Observations, names: Sequence[str]) -> None:
    """Refuses the first row that has none of these modalities.

    Raises:
        WrongInput: There is such a row.
    """
    for name in names:
        if observations.columns[name].complete:
            return
    observed = np.stack([observations.columns[name].present for name in names]).any(axis=0)
    if not observed.all():
        row = observations.first_row + int(np.argmin(observed))
        raise WrongInput(f"row {row} (counted from 0) has nothing observed of {listed(names)}")
