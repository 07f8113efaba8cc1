"""Reads a table of any format: see the package for the rules."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from models_store.arrays import Array
from models_store.errors import WrongValue, listed
from models_store.tables import cells
from models_store.tables.affixes import without_affixes
from models_store.tables.dialect import ColumnDialect, Dialect, TableLayout
from models_store.tables.documents import ExcelSource
from models_store.tables.known import Content, KnownTables, described
from models_store.tables.opening import open_source
from models_store.tables.parquet import ParquetSource
from models_store.tables.sources import Cell, Source
from models_store.tables.survey import repeated, survey
from models_store.tables.text import TextSource

LONGEST_SHOWN, MOST_SHOWN = 60, 3
"""Characters of a line below the rows that a sentence shows, and the number of these lines."""
EMPTY_IT = "correct it, or leave the cell empty"
CELLS_AT_ONCE = 2**20
"""Cells in a block; what is in memory at a time is a small multiple of this."""


@dataclass(frozen=True)
class Block:
    """Some consecutive rows.

    Arguments:
        table: To which they belong.
        first_row: The number of the first, counted from 0.
        rows: Values as the file has them.
    """

    table: Table
    first_row: int
    rows: Sequence[Sequence[Any]]
    _numbers: dict[int, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _texts: dict[int, list[str | None]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def cells(self, column: int) -> Sequence[Cell]:
        """A column as the file has it: text, lists, or None for nothing."""
        return self.table.source.cells([row[column] for row in self.rows])

    def numbers(self, column: int) -> Array:
        """A column of numbers or vectors as floats, NaN where missing: (n,) or (n, width).

        Raises:
            WrongValue: A cell is neither a number nor missing.
        """
        if column not in self._numbers:
            self._numbers[column] = self._read_numbers(column)
        return self._numbers[column]

    def _read_numbers(self, column: int) -> Array:
        how = self.table.dialect.columns[column]
        matches = self.cells(column)
        if how.content == "vector":
            return self._vectors(how, matches)
        texts = [None if isinstance(cell, list) else cell for cell in matches]
        texts = [_bare(cell, how) for cell in texts] if how.has_unit else texts
        try:
            return cells.numbers(texts, how.decimal, how.missing)
        except ValueError as error:
            row, _, reason = str(error).partition(": ")
            raise WrongValue(
                f"{self.table.where}: row {self.first_row + int(row)} (counted from 0), column "
                f"'{how.header}': {reason}; {self.table.remedy}"
            ) from None

    def texts(self, column: int) -> list[str | None]:
        """A column as trimmed text, None where missing; numbers have a decimal point and no groups."""
        if column not in self._texts:
            self._texts[column] = self._read_texts(column)
        return self._texts[column]

    def _read_texts(self, column: int) -> list[str | None]:
        how = self.table.dialect.columns[column]
        absent = cells.EMPTY.union(how.missing)
        trimmed = [cell.strip() if isinstance(cell, str) else "" for cell in self.cells(column)]
        matches = [None if cell in absent else cell for cell in trimmed]
        if how.content != "number":
            return matches
        return [cell and _with_point(cell, how) for cell in matches]

    def _vectors(self, how: ColumnDialect, cells: Sequence[Cell]) -> Array:
        values = np.full((len(cells), how.width), np.nan)
        for row, cell in enumerate(cells):
            if cell is not None:
                with suppress(TypeError, ValueError):
                    values[row] = np.array(cell, dtype=float)
                    continue
                raise WrongValue(
                    f"{self.table.where}: row {self.first_row + row} (counted from 0), column '{how.header}' "
                    f"must hold {how.width} numbers"
                )
        return values


def _bare(cell: str | None, how: ColumnDialect) -> str | None:
    """A number without the unit of its column."""
    return without_affixes(cell.strip(), how.prefix, how.suffix) if cell and how.has_unit else cell


def _with_point(cell: str, how: ColumnDialect) -> str:
    """A number as Python spells it, with all its digits."""
    cell, decimal = (_bare(cell, how) or "" if how.has_unit else cell), how.decimal
    if decimal == "." and cell.lstrip("+-").replace(".", "", 1).isdecimal():
        return cell
    value = cells.number(cell, decimal)
    if value is None:
        return cell
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


@dataclass(frozen=True)
class Table:
    """A table whose cells are read a block at a time, any number of times.

    Arguments:
        where: Its file, for messages.
        dialect: How it is written.
        report: What was taken as missing, and what cannot be read, a line each.
        source: Of its rows.
        remedy: What to do about a cell that is no number.
        counted: Number of rows where they have been counted.
    """

    where: str
    dialect: Dialect
    report: tuple[str, ...]
    source: Source
    remedy: str = "name it in missing, or correct it"
    counted: int | None = None

    def blocks(self, rows: int | None = None) -> Iterator[Block]:
        """All rows in the order of the file; a block has so many, or what fits in memory."""
        size = rows or max(1, CELLS_AT_ONCE // max(1, len(self.dialect.columns)))
        start, taken = 0, list[Sequence[Any]]()
        for row in self.source.rows():
            taken.append(row)
            if len(taken) == size:
                yield Block(self, start, taken)
                start, taken = start + size, []
        if taken:
            yield Block(self, start, taken)

    @cached_property
    def rows(self) -> int:
        """The number of rows."""
        return sum(1 for _ in self.source.rows()) if self.counted is None else self.counted

    def column(self, header: str) -> int:
        """The position of a column, by its header or its name.

        Raises:
            WrongValue: There is none.
        """
        for spelling in (self.dialect.headers, [column.name for column in self.dialect.columns]):
            if header in spelling:
                return list(spelling).index(header)
        raise WrongValue(
            f"{self.where} has no column '{header}'; there are {listed(self.dialect.headers[:20])}"
        )


def read_table(
    content: Path | bytes,
    layout: TableLayout | None = None,
    missing: Sequence[str] = (),
    missing_by_column: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Opens a table, and looks at every cell to describe its columns.

    Arguments:
        content: A file, or its bytes.
        layout: What is known of how it is written; the rest is detected.
        missing: Marks for a missing value in any column, besides those of the layout.
        missing_by_column: Further marks, by header.

    Raises:
        UnreadableFile: It is no table, or damaged.
        WrongValue: Two headers are equal.
    """
    where = str(content) if isinstance(content, Path) else "the table"
    dialect, source = open_source(content, where, layout, None)
    _check_headers(where, source)
    marks = tuple(dict.fromkeys((*missing, *(layout.missing if layout else ()))))
    dialect = dialect.model_copy(update={"missing": marks})
    decimal = layout.decimal if layout and dialect.format == "csv" else None
    durations = source.durations if isinstance(source, ParquetSource) else {}
    units = [durations.get(header, "") for header in source.headers] if durations else dialect.units
    matches = survey(source, units, marks, missing_by_column or {}, decimal, dialect.delimiter)
    report = matches.report if dialect.has_header else (_nameless(matches.columns), *matches.report)
    if not dialect.encoding.startswith("utf") and not (layout and layout.encoding):
        report = (
            f"its text is not UTF-8 and is read as {dialect.encoding}: {_not_ascii(matches.columns)}",
            *report,
        )
    report = (*report, *_remarks(source, dialect))
    dialect = dialect.model_copy(update={"columns": matches.columns})
    return Table(where, dialect, report, source, counted=matches.rows)


def _lines(count: int) -> str:
    return "1 line is" if count == 1 else f"{count} lines are"


def _remarks(source: Source, dialect: Dialect) -> Iterator[str]:
    """Sentences on what only some formats have, and on lines that are no rows."""
    if isinstance(source, ParquetSource):
        for header, unit in source.durations.items():
            yield f"'{header}' holds durations, read as whole numbers of {unit}"
    if isinstance(source, ExcelSource):
        yield from source.remarks()
    if isinstance(source, TextSource) and source.repeated_headers:
        yield f"{_lines(source.repeated_headers)} left out: equal to the header"
    if any(map("".join, dialect.descriptions)):
        shown = listed(text for text in dialect.descriptions[0] if text.strip())
        yield f"{_lines(len(dialect.descriptions))} no row below the header: {shown[:LONGEST_SHOWN]}"
    if source.empty_lines:
        lines = "1 empty line" if source.empty_lines == 1 else f"{source.empty_lines} empty lines"
        yield f"{lines} at the end of the sheet or text left out"
    if source.footer:
        yield _below(source.footer)


def _not_ascii(columns: Sequence[ColumnDialect]) -> str:
    """Headers by which the encoding can be checked, and what to do."""
    headers = [column.header for column in columns if not column.header.isascii()][:3]
    shown = f"headers such as {listed(headers)}" if headers else "its labels"
    return f"if {shown} are not right, save it as UTF-8"


def _below(lines: Sequence[Sequence[Any]]) -> str:
    """A sentence on the lines below the last row."""
    texts = [", ".join(str(cell) for cell in line if cell not in (None, "")) for line in lines]
    shown = listed(text[:LONGEST_SHOWN] for text in list(filter(None, texts))[:MOST_SHOWN])
    count = (
        "1 line at the end is no row and is"
        if len(lines) == 1
        else f"{len(lines)} lines at the end are no rows and are"
    )
    return f"{count} left out: {shown}; to keep such, set footer_lines = 0 in [data.dialects]"


def _nameless(columns: Sequence[ColumnDialect]) -> str:
    return (
        "no line names the columns: the first line holds numbers and is read as a row; they are called "
        f"'{columns[0].header}' to '{columns[-1].header}'"
    )


def read_known(
    content: Path | bytes,
    model_tables: KnownTables,
    contents: Callable[[Sequence[str]], Sequence[Content]],
    where: str,
) -> Table:
    """Opens a table of a model, whose columns are read as those that trained the model.

    Arguments:
        content: A file, or bytes of text.
        model_tables: Headers and tables of the model.
        contents: Returns the content of every column by the headers.
        where: The file, for messages.

    Raises:
        UnreadableFile: It is no table, or damaged.
        WrongValue: Two headers are equal.
    """
    if isinstance(content, bytes):
        text = TextSource(where, lambda: io.BytesIO(content), None, model_tables)
        dialect, source = text.dialect, cast("Source", text)
    else:
        dialect, source = open_source(content, where, None, model_tables)
    _check_headers(where, source)
    what = contents(source.headers)
    source.labels = frozenset(
        label.casefold()
        for labels in what
        if labels and not isinstance(labels, str | int)
        for label in labels
    )
    columns = described(source, dialect, model_tables, what)
    return Table(where, dialect.model_copy(update={"columns": columns}), (), source, EMPTY_IT)


def _check_headers(where: str, source: Source) -> None:
    if clause := repeated([header for header in source.headers if header.strip()]):
        raise WrongValue(f"{where}: {clause}; give every column a name of its own")
