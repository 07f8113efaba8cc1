"""Values that mean a missing one, as the user names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from models_store.tables.cells import number

MOST_DECIMALS = 6
"""Zeros behind the decimal mark that a cell may have and still be a mark."""


@dataclass(frozen=True)
class Marks:
    """Marks for missing values.

    Arguments:
        everywhere: Marks of all columns.
        by_column: Further marks, by header.
    """

    everywhere: Sequence[str] = ()
    by_column: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def with_others(self, everywhere: Sequence[str], by_column: Mapping[str, Sequence[str]]) -> Marks:
        """These marks and further ones, of all columns and by header."""
        headers = dict.fromkeys([*self.by_column, *by_column])
        joined = {name: [*self.by_column.get(name, ()), *by_column.get(name, ())] for name in headers}
        return Marks([*self.everywhere, *everywhere], joined)

    def spelled(self) -> tuple[list[str], dict[str, list[str]]]:
        """The marks as cells of a text table may spell them: those of all columns, and by header."""
        return _spellings(self.everywhere), {
            name: _spellings(marks) for name, marks in self.by_column.items()
        }

    def removed(self, name: str, values: Any) -> Any:
        """The values of a field of an array or a Parquet file, without those that mean missing.

        Arguments:
            name: The field.
            values: Single values as an Arrow array, or rows of an array; only floats can lack cells.
        """
        marks = [*self.everywhere, *self.by_column.get(name, ())]
        if not marks:
            return values
        numbers = [value for mark in marks if (value := number(mark)) is not None]
        if isinstance(values, np.ndarray):
            if values.dtype.kind != "f":
                return values
            return np.where(np.isin(values, np.array(numbers, values.dtype)), np.nan, values)
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            spelled = pa.array(_spellings(marks), values.type)
            return compute.if_else(compute.is_in(values, spelled), None, values)
        if pa.types.is_boolean(values.type) or not numbers:
            return values
        among = compute.is_in(values.cast(pa.float64()), pa.array(numbers, pa.float64()))
        return compute.if_else(among, None, values)


def _spellings(marks: Sequence[str]) -> list[str]:
    """Marks, and those that are whole numbers with decimals too: ``-999``, ``-999.0``, ``-999,00``."""
    spelled = dict.fromkeys(mark.strip() for mark in marks)
    for mark in marks:
        value = number(mark)
        if value is not None and value.is_integer() and abs(value) < 2**53:
            spelled[f"{int(value)}"] = None
            for zeros in range(1, MOST_DECIMALS + 1):
                spelled.update(dict.fromkeys(f"{int(value)}{point}{'0' * zeros}" for point in ".,"))
    return list(spelled)


NO_MARKS = Marks()


def marks_of(options: Sequence[str]) -> Marks:
    """Marks from the command line: ``MARK`` for all columns, ``COLUMN=MARK`` for one."""
    by_column: dict[str, list[str]] = {}
    for header, equals, mark in (option.rpartition("=") for option in options):
        if equals:
            by_column.setdefault(header, []).append(mark)
    return Marks([option for option in options if "=" not in option], by_column)
