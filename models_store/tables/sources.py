"""What every format gives: headers, and rows of cells as text."""

from __future__ import annotations

import datetime
import decimal
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

Cell: TypeAlias = "str | list[Any] | None"
"""Text as written, a list of numbers, or nothing."""


class Source(ABC):
    """A table that can be read from its first row any number of times.

    Arguments:
        headers: As the file spells them.
        stored: Types of the columns where the format has types, else None.
    """

    headers: tuple[str, ...]
    stored: tuple[str, ...] | None = None

    @abstractmethod
    def rows(self) -> Iterator[Sequence[Cell]]:
        """All rows, each with a cell for every header."""


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
        case _:
            return str(value)


def _float_as_cell(value: float) -> str | None:
    if math.isnan(value):
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
