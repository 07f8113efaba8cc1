"""Tables of a model: recognised by the headers that its training tables have, and read as these were."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, TypeAlias

from models_store.tables.affixes import split_affixes
from models_store.tables.cells import PERHAPS, decimal_vote, number, thousands_mark
from models_store.tables.dialect import (
    ColumnDialect,
    DecimalMark,
    Dialect,
    StoredColumn,
    TrainingTable,
    normal,
)
from models_store.tables.headers import filled_groups, is_header, with_groups
from models_store.tables.sniff import (
    DELIMITERS,
    MOST_PREAMBLE,
    assembled,
    lines_of,
    quote_of,
    split_lines,
    with_doubled_quotes,
)
from models_store.tables.sources import Source

ROWS_SEEN = 10_000
"""Rows of which the decimal marks of a table are taken."""


@dataclass(frozen=True)
class KnownTables:
    """Headers that a model knows, and how its training tables are written.

    Arguments:
        names: Normalised headers by which columns are known; see :func:`models_store.tables.dialect.normal`.
        tables: Training tables of the model; older models have none.
    """

    names: frozenset[str]
    tables: tuple[TrainingTable, ...] = ()

    def best(self, headers: Sequence[str]) -> TrainingTable | None:
        """The training table that shares most headers with a table, if any shares one."""
        there = {normal(header) for header in headers}
        shared = [len(there & table.headers) for table in self.tables]
        return self.tables[shared.index(max(shared))] if any(shared) else None


def recognise(sample: str, encoding: str, model_tables: KnownTables) -> Dialect:
    """The dialect of a text: the delimiter and the line under which most headers are known.

    A number is a header in the first line alone: columns without a name are known by their index.

    Arguments:
        sample: The beginning of the text; the last line may be cut.
        encoding: Encoding of the file.
        model_tables: Headers and tables of a model.
    """
    backslashes, sample = with_doubled_quotes(sample)
    line_end, lines = lines_of(sample)
    stated = dict.fromkeys(table.delimiter for table in model_tables.tables if table.delimiter)
    best, matched = (0, next(iter(stated), ","), tuple[str, ...]()), 0
    for delimiter in dict.fromkeys([*stated, *DELIMITERS]):
        starts = (at for at, line in enumerate(lines[:MOST_PREAMBLE]) if delimiter in line or not matched)
        for start, groups, headers in _possible_headers(lines, starts, delimiter, line_end):
            count = len({normal(header) for header in headers} & model_tables.names)
            if count > matched:
                best, matched = (start, delimiter, groups), count
    start, delimiter, groups = best
    quote = quote_of(lines[start:], delimiter)
    if matched:
        dialect = assembled(lines, line_end, encoding, start, (delimiter, quote), True)
        dialect = dialect.model_copy(update={"groups": groups})
    else:
        dialect = _without_header(lines, line_end, encoding, model_tables)
    return dialect.model_copy(update={"backslashes": backslashes})


def _possible_headers(
    lines: Sequence[str], starts: Iterable[int], delimiter: str, line_end: str
) -> Iterator[tuple[int, tuple[str, ...], Sequence[str]]]:
    """Lines that may be the header, their groups, and the headers: alone and below the line before them."""
    groups, after = tuple[str, ...](), 0
    for start in starts:
        quote = quote_of([lines[start]], delimiter)
        names = next(_split(lines[start:], delimiter, quote, line_end), [])
        words = [name for name in names if not start or number(name) is None]
        is_of_words = len(words) == len(names)
        yield start, (), words
        if start == after and groups and is_of_words:
            yield start, groups, with_groups(groups, names)
        groups, after = filled_groups(names) if is_of_words else (), start + 1


def _without_header(lines: Sequence[str], line_end: str, encoding: str, model_tables: KnownTables) -> Dialect:
    """The dialect of a text of which no header is known: of a table without a header, if one trained."""
    for table in model_tables.tables:
        start, delimiter = table.title_lines or 0, table.delimiter or ","
        quote = quote_of(lines[start:], delimiter)
        rows = split_lines(lines[start:], delimiter, quote, line_end)
        further = len(rows[0]) - len(table.columns) if rows else -1
        if table.header is False and (further == 0 or (further > 0 and not is_header(rows))):
            return assembled(lines, line_end, encoding, start, (delimiter, quote), False)
    delimiter = max(DELIMITERS, key=lambda mark: lines[0].count(mark) if mark != " " else 0)
    return assembled(lines, line_end, encoding, 0, (delimiter, quote_of(lines, delimiter)), True)


def _split(lines: Sequence[str], delimiter: str, quote: str, line_end: str) -> Iterator[list[str]]:
    return csv.reader(
        (line.replace("\r", " ").replace("\n", " ") + line_end for line in lines),
        delimiter=delimiter,
        quotechar=quote,
        skipinitialspace=delimiter == " ",
    )


@dataclass
class _Marks:
    """How the numbers of a column are written; floats of a format with types have a point."""

    decimal: Counter[DecimalMark] = field(default_factory=Counter)
    cells: list[str] = field(default_factory=list)
    affixes: Counter[tuple[str, str]] = field(default_factory=Counter)
    has_floats: bool = False

    def see(self, text: str) -> None:
        if parts := split_affixes(text):
            self.affixes[parts.prefix, parts.suffix] += 1
            text = parts.number
        if vote := decimal_vote(text):
            self.decimal[vote] += 1
        if len(self.cells) < 100:
            self.cells.append(text)


Content: TypeAlias = "Literal['number'] | int | Collection[str] | None"
"""Content of a column: numbers, vectors of so many numbers, some labels, or nothing that a model reads."""


def described(
    source: Source, dialect: Dialect, model_tables: KnownTables, content: Sequence[Content]
) -> tuple[ColumnDialect, ...]:
    """The columns of a table of a model.

    A column of numbers has the decimal mark that its cells show, else that of the table, else that of the
    training table. It has no words, so what may mean missing does; among labels only what is no label.

    Arguments:
        source: Rows of the table.
        dialect: How it is written, without columns.
        model_tables: Headers and tables of the model.
        content: Content of every column.
    """
    table = model_tables.best(source.headers)
    stored = {normal(column.header): column for column in table.columns} if table else {}
    marks = _marks(source, content)
    total = sum((one.decimal for one in marks.values()), Counter[DecimalMark]())
    same_marks = table is not None and table.delimiter == dialect.delimiter and table.format == dialect.format
    usual: DecimalMark = (table.decimal if same_marks and table else None) or "."
    usual = total.most_common(1)[0][0] if total else usual
    columns = []
    for at, (header, what) in enumerate(zip(source.headers, content, strict=True)):
        before = stored.get(normal(header), StoredColumn(header=header))
        column = ColumnDialect(
            header=header,
            name=header,
            stored=source.stored[at] if source.stored else None,
            missing=before.missing if before.missing is not None else table.missing if table else (),
        )
        if what is not None:
            column = _read(column, what, before)
        if at in marks:
            remembered = before.decimal if same_marks else None
            column = _marked(column, marks[at], remembered or usual, before)
        columns.append(column)
    return tuple(columns)


def _marks(source: Source, content: Sequence[Content]) -> dict[int, _Marks]:
    """How the first cells of the columns of numbers are written; of typed formats, cells of text alone."""
    marks = {at: _Marks() for at, what in enumerate(content) if _is_number(what)}
    for row in islice(source.rows(), ROWS_SEEN):
        for at, mark in marks.items():
            if row[at] and isinstance(row[at], str):
                mark.see(row[at].strip())
            elif isinstance(row[at], float) and not row[at].is_integer():
                mark.has_floats = True
    return {at: mark for at, mark in marks.items() if mark.cells or not source.typed}


def _is_number(what: Content) -> bool:
    """Whether a column holds single numbers: those of a vector, or labels that all read as numbers."""
    if what is None or isinstance(what, int):
        return False
    return what == "number" or all(number(label) is not None for label in what)


def _read(column: ColumnDialect, what: Content, before: StoredColumn) -> ColumnDialect:
    absent = PERHAPS | set(column.missing)
    if isinstance(what, int):
        return column.model_copy(update={"content": "vector", "width": what})
    content = "number" if _is_number(what) else "text"
    labels = set() if what is None or isinstance(what, str) else set(what)
    missing = tuple(sorted(absent - labels))
    return column.model_copy(update={"content": content, "missing": missing, "percent": bool(before.percent)})


def _zeros(cells: Sequence[str], decimal: DecimalMark) -> int:
    """Zeros behind the decimal mark of every number: 1 in ``2.0``; 0 where they differ."""
    tails = {cell.partition(decimal)[2] for cell in cells if number(cell, decimal) is not None}
    tail = next(iter(tails), "")
    return len(tail) if len(tails) == 1 and not tail.strip("0") else 0


def _same_unit(first: tuple[str, str], second: tuple[str, str]) -> bool:
    """Whether two pairs of prefix and suffix differ by blanks alone."""
    return [text.strip() for text in first] == [text.strip() for text in second]


def _marked(column: ColumnDialect, marks: _Marks, usual: DecimalMark, before: StoredColumn) -> ColumnDialect:
    points, commas = marks.decimal["."], marks.decimal[","]
    decimal = usual if points == commas else "," if commas > points else "."
    decimal = "." if marks.has_floats else decimal
    groups = {thousands_mark(cell, decimal) for cell in marks.cells} - {None}
    unit = (before.prefix or "", before.suffix or "")
    spellings = [pair for pair, _ in marks.affixes.most_common() if _same_unit(pair, unit)]
    prefix, suffix = spellings[0] if spellings else ("", "") if marks.cells else unit
    percents = [cell.endswith("%") for cell in marks.cells if number(cell, decimal) is not None]
    return column.model_copy(
        update={
            "decimal": decimal,
            "thousands": next(iter(groups))
            if len(groups) == 1
            else (before.thousands or "")
            if not groups
            else "",
            "percent": all(percents) if percents else column.percent,
            "prefix": prefix,
            "suffix": suffix,
            "zeros": _zeros(marks.cells, decimal),
        }
    )
