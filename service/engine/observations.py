"""Rows of a request as arrays: one column per modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models_store.arrays import Array

if TYPE_CHECKING:
    from models_store.tables.matching import MatchedTable


@dataclass(eq=False)  # a frozen one takes three times as long to make
class Column:
    """One modality of a request.

    Arguments:
        values: Rows, (n, *shape), in the modality's dtype; any value where missing.
        mask: Mask of the rows that have it, boolean (n,); None: every row has it.
    """

    values: Array
    mask: Array | None = None

    @cached_property
    def present(self) -> Array:
        """Mask of the rows that have it, boolean (n,)."""
        return np.ones(len(self.values), bool) if self.mask is None else self.mask

    @classmethod
    def masked(cls, values: Array, present: Array) -> Column:
        """Returns the column of these rows, without a mask where every row has the modality."""
        return cls(values, None if present.all() else present)


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
    table: MatchedTable | None = None
    first_row: int = 0
