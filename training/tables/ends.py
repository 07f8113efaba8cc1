"""The lowest and the highest different numbers of columns, counted in one pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models_store.arrays import Array

ENDS = 8
"""Different numbers that are kept at each end of a column."""


class End(NamedTuple):
    """A number near an end of its column.

    Arguments:
        value: The number.
        times: Cells that hold it.
        row: The first row that holds it, counted from 0.
    """

    value: float
    times: int
    row: int


class LowestNumbers:
    """The lowest different numbers of columns side by side.

    Arguments:
        width: Number of columns.
    """

    def __init__(self, width: int) -> None:
        self._values = np.full((ENDS, width), np.nan)
        self._counts, self._rows = np.zeros((ENDS, width), int), np.zeros((ENDS, width), int)

    def see(self, cells: Array, start: int) -> None:
        """Takes account of consecutive rows, (n, width), of which the first has the number ``start``."""
        last = self._values[-1]
        columns = np.flatnonzero(np.isnan(last) | (cells <= last).any(0))
        values = np.concatenate([self._values[:, columns], cells[:, columns]])
        counts, rows = self._counts[:, columns], self._rows[:, columns]
        for at in range(ENDS):
            lowest = np.fmin.reduce(values, axis=0)
            equal = values == lowest
            first = equal.argmax(0)
            before = rows[np.minimum(first, ENDS - 1), np.arange(len(columns))]
            self._values[at, columns] = lowest
            self._counts[at, columns] = (equal[:ENDS] * counts).sum(0) + equal[ENDS:].sum(0)
            self._rows[at, columns] = np.where(first < ENDS, before, start + first - ENDS)
            values[equal] = np.nan

    def of_column(self, column: int) -> list[End]:
        """The lowest different numbers of a column, ascending."""
        ends = zip(self._values[:, column], self._counts[:, column], self._rows[:, column], strict=True)
        return [End(float(value), int(times), int(row)) for value, times, row in ends if times]


class Ends:
    """The lowest and the highest different numbers of columns side by side.

    Arguments:
        width: Number of columns.
    """

    def __init__(self, width: int) -> None:
        self._low, self._high = LowestNumbers(width), LowestNumbers(width)

    def see(self, cells: Array, start: int) -> None:
        """Takes account of consecutive rows, (n, width), of which the first has the number ``start``."""
        self._low.see(cells, start)
        self._high.see(-cells, start)

    def of_column(self, column: int) -> tuple[list[End], list[End]]:
        """The lowest numbers of a column, ascending, and the highest, descending."""
        highest = [end._replace(value=-end.value) for end in self._high.of_column(column)]
        return self._low.of_column(column), highest
