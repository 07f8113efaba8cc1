"""What every format writes: the rows of a table with some cells filled, and further columns beside them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models_store.tables.affixes import with_affixes
from models_store.tables.cells import number, written
from models_store.tables.dialect import ColumnDialect, Dialect
from models_store.tables.sources import ABSENT, Source, as_cell

DIGITS = 7
"""Significant digits of filled numbers."""


class Label(str):
    """The label of a category, which fills a cell; a label that reads as a number has a decimal point."""

    __slots__ = ()


@dataclass(frozen=True)
class AddedColumn:
    """A column that is written after those of the table.

    Arguments:
        header: Its header.
        content: Content of its cells.
        like: Column whose decimal mark and spelling its numbers have.
    """

    header: str
    content: Literal["number", "text", "vector"] = "number"
    like: ColumnDialect | None = None


@dataclass(frozen=True)
class Plan:
    """What is written, before the first row.

    Arguments:
        source: Source of the rows, which says whether its values have types.
        dialect: How the new file is written; its columns are those of the source.
        fillable: Positions of the columns whose cells may be filled, ascending.
        added: Columns that follow.
    """

    source: Source
    dialect: Dialect
    fillable: tuple[int, ...] = ()
    added: tuple[AddedColumn, ...] = ()

    @property
    def columns(self) -> tuple[ColumnDialect, ...]:
        return self.dialect.columns

    @property
    def headers(self) -> list[str]:
        """Headers of all columns of the new file."""
        return [*self.dialect.headers, *(column.header for column in self.added)]

    @property
    def names(self) -> list[str]:
        """The line of names: headers without their groups; the line of groups holds further headers."""
        if not self.dialect.groups:
            return self.headers
        pairs = zip(self.dialect.headers, self.dialect.groups, strict=True)
        return [*(header[len(group) :].lstrip() for header, group in pairs), *("" for _ in self.added)]

    @property
    def beside_groups(self) -> list[str]:
        """What follows the line of groups."""
        return [column.header for column in self.added] if self.dialect.groups else []

    def footer(self) -> Iterator[list[Any]]:
        """Lines below the last row; those as wide as the table have empty cells in the added columns."""
        for line in self.source.footer:
            further = len(self.added) if len(line) >= len(self.columns) else 0
            yield [*line, *[None] * further]


class Writer(ABC):
    """Writes a file row by row.

    Arguments:
        plan: What to write.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @abstractmethod
    def append(self, row: Sequence[Any], fills: Mapping[int, Any], added: Sequence[Any]) -> None:
        """Writes one row.

        Arguments:
            row: Values of the source's row, as :meth:`Source.rows` yields them.
            fills: By position, what replaces a value: a number, a label or a list of numbers.
            added: Values of the added columns: such a value, a value of the row, or None.
        """

    @abstractmethod
    def close(self) -> None:
        """Completes the file."""

    def cancel(self) -> None:  # noqa: B027 - most hold nothing
        """Releases what a file that is not completed holds."""


def spelled(value: float, column: ColumnDialect) -> str:
    """A number as the text of a cell of a column."""
    text = written(value, column.decimal, column.percent, column.thousands)
    return with_affixes(text, column.prefix, column.suffix)


def typed(value: Any, column: ColumnDialect) -> Any:
    """A value for formats with types: a number or a truth value where the column holds such."""
    if isinstance(value, float | np.floating):
        if column.has_unit:
            return spelled(float(value), column)
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [typed(item, column) for item in value]
    if isinstance(value, str) and column.stored == "boolean":
        return {"true": True, "false": False}.get(value, value)
    if isinstance(value, str) and column.content == "number":
        read = number(value, "." if isinstance(value, Label) else column.decimal)
        return value if read is None else int(read) if read.is_integer() and abs(read) < 2**53 else read
    return value


def values_for(plan: Plan, row: Sequence[Any], fills: Mapping[int, Any], added: Sequence[Any]) -> list[Any]:
    """A row of a format with types; values of a source with types stay as they are."""
    cells: list[Any] = list(row)
    for at, value in fills.items():
        cells[at] = typed(value, plan.columns[at])
    if not plan.source.typed:
        cells = [typed(cell or None, column) for cell, column in zip(cells, plan.columns, strict=True)]
    for value, further in zip(added, plan.added, strict=True):
        cells.append(typed(value, further.like or ColumnDialect(header="", name="", content="number")))
    return [None if cell is ABSENT else cell for cell in cells]


def text_for(value: Any) -> str:
    """A value with a type as the text of a cell."""
    cell = as_cell(value)
    return "" if cell is None else cell if isinstance(cell, str) else str(cell)
