"""Rows of a request as arrays: one column per modality."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from models_store.arrays import Array
from models_store.errors import listed
from service.errors import WrongInput


@dataclass(frozen=True, eq=False)
class Column:
    """One modality of a request.

    Arguments:
        values: Rows, (n, *shape), in the modality's dtype; any value where missing.
        mask: Mask of the rows that have it, boolean (n,); None for all.
    """

    values: Array
    mask: Array | None = None

    @cached_property
    def present(self) -> Array:
        """Mask of the rows that have it, boolean (n,)."""
        return np.ones(len(self.values), bool) if self.mask is None else self.mask

    @cached_property
    def complete(self) -> bool:
        """Whether every row has it."""
        return self.mask is None or bool(self.mask.all())


@dataclass(frozen=True)
class Table:
    """A table as sent, cell by cell.

    Arguments:
        header: Names of the columns.
        lines: Rows below the header.
        keep: Names of columns to copy to the answer, which the model does not have.
    """

    header: tuple[str, ...]
    lines: Sequence[Sequence[str]]
    keep: Collection[str] = ()


class Observations(NamedTuple):
    """Rows of a request: one column per modality sent, all with n rows.

    Arguments:
        columns: Columns by modality.
        n: Number of rows.
        table: Table that they were read from, if any.
        first_row: Index of the first row, if they are a piece of a longer request.
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
