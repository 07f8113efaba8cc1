"""What every format gives: headers, and rows of cells."""

from __future__ import annotations

import datetime
import decimal
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

Cell: TypeAlias = "str | list[Any] | None"
"""Text as written, a list of numbers, or nothing."""


class _Absent:
    """A key that an object in JSON does not have."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


class Source(ABC):
    """A table that can be read from its first row any number of times.

    Arguments:
        headers: As the file spells them.
        stored: Types of the columns where the format has types, else None.
        typed: Whether cells are values of a type instead of text; :func:`as_cell` makes cells of them.
        footer: Lines below the last row, such as totals and notes, once all rows have been read.
        footer_lines: Number of these lines; None: by what they hold.
        empty_lines: Number of empty lines at the end, which are no rows, once all rows have been read.
        labels: Words in lower case that rows may have, also where they read like a total.
    """

    headers: tuple[str, ...]
    stored: tuple[str, ...] | None = None
    typed: bool = True
    footer: Sequence[Sequence[Any]] = ()
    footer_lines: int | None = None
    empty_lines: int = 0
    labels: frozenset[str] = frozenset()

    @abstractmethod
    def rows(self) -> Iterator[Sequence[Any]]:
        """All rows, each with a value for every header, as the file has it."""

    def cells(self, values: Sequence[Any]) -> Sequence[Cell]:
        """Values of one column or row as cells."""
        return [as_cell(value) for value in values] if self.typed else values


def as_cell(value: Any) -> Cell:
    """A value of a typed format as a cell; an infinity stays as text, to be reported as no number."""
    match value:
        case None | str() | list():
            return value
        case tuple():
            return list(value)
        case bool():
            return "true" if value else "false"
        case float():
            return _float_as_cell(value)
        case datetime.datetime() if value.time() == datetime.time():
            return value.date().isoformat()
        case datetime.date() | datetime.time():
            return value.isoformat()
        case decimal.Decimal():
            return None if value.is_nan() else format(value, "f")
        case dict() | bytes() | _Absent():
            return None
        case _:
            return str(value)


def _float_as_cell(value: float) -> str | None:
    if math.isnan(value):
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
