"""Tables as JSON, JSON lines and Excel books."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, BinaryIO

import orjson

from models_store.errors import UnreadableFile, listed
from models_store.tables.footer import above_footer
from models_store.tables.headers import (
    descriptions_below,
    groups_above,
    names_stand_below,
    units_below,
    with_groups,
)
from models_store.tables.output import Label, Plan, Writer, text_for, values_for
from models_store.tables.sources import ABSENT, Source
from models_store.tables.stacked import of_one_table

LINES_SEEN = 200
"""Lines of a sheet in which its header is looked for."""
MERGED = re.compile(rb'<(?:\w+:)?mergeCell [^>]*?ref="([A-Z]+)(\d+):[A-Z]+(\d+)"')
"""A range of merged cells in the XML of a sheet: column, first and last row."""


class JsonSource(Source):
    """Objects of one table: a list of them, or one a line; columns in order of first appearance.

    Arguments:
        where: The file, for messages.
        open_bytes: Opens the content, unpacked, from its start.
        lines: One object a line.
    """

    def __init__(self, where: str, open_bytes: Callable[[], BinaryIO], lines: bool) -> None:
        self._where, self._open_bytes, self._by_line = where, open_bytes, lines
        headers: dict[str, str] = {}
        for row in self._objects():
            for name, value in row.items():
                if value is not None or name not in headers:
                    headers[name] = _wider(headers.get(name, ""), value)
        if not headers:
            raise UnreadableFile(f"{where} holds no objects; a table in JSON is a list of objects by column")
        self.headers, self.stored = tuple(headers), tuple(headers.values())

    def rows(self) -> Iterator[Sequence[Any]]:
        for row in self._objects():
            yield [row.get(name, ABSENT) for name in self.headers]

    def _objects(self) -> Iterator[dict[str, Any]]:
        with closing(self._open_bytes()) as stream:
            documents = (line for line in stream if line.strip()) if self._by_line else [stream.read()]
            try:
                for document in documents:
                    value = _loaded(document.removeprefix(b"\xef\xbb\xbf"))
                    for row in [value] if self._by_line else _listed(value):
                        if not isinstance(row, dict):
                            raise UnreadableFile(f"{self._where} is JSON, but not a table: {_REMEDY}")
                        yield row
            except (ValueError, RecursionError) as error:
                raise UnreadableFile(f"{self._where} is damaged JSON: {error}") from None


_REMEDY = "write a list of objects by column; pandas does with orient='records'"


def _loaded(document: bytes) -> Any:
    """A document of JSON, in which NaN, as Python writes it, is missing too."""
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        if b"NaN" in document or b"Infinity" in document:
            return json.loads(document, parse_constant=_constant)
        raise


def _constant(name: str) -> None:
    """The value of ``NaN``, ``Infinity`` or ``-Infinity``.

    Raises:
        ValueError: It is infinite.
    """
    if name != "NaN":
        raise ValueError(f"{name} is no value of a table; write null where a number is missing")


def _wider(kind: str, value: Any) -> str:
    """The type of a column that has so far been of one kind: JSON unless a text or an object is among it."""
    if isinstance(value, dict) or kind == "STRUCT":
        return "STRUCT"
    return "string" if isinstance(value, str) or kind == "string" else "json"


def _listed(value: Any) -> list[Any]:
    """Rows of a document: a list of them, or an object with a list for each column."""
    if isinstance(value, list):
        return value
    columns = list(value.values()) if isinstance(value, dict) else []
    if columns and all(isinstance(column, dict) for column in columns):
        return [None]  # by index, as pandas writes by default
    is_table = all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns)
    if is_table and any(not isinstance(cell, dict) for column in columns for cell in column):
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return [None]


class JsonWriter(Writer):
    """Writes a list of objects, or one object a line.

    Of the columns that are not filled, keys that an object did not have stay away.

    Arguments:
        stream: Open file.
        plan: What to write.
    """

    def __init__(self, stream: BinaryIO, plan: Plan) -> None:
        super().__init__(plan)
        self._stream, self._lines, self._rows = stream, plan.dialect.format == "jsonl", 0

    def append(self, row: Sequence[Any], fills: Mapping[int, Any], added: Sequence[Any]) -> None:
        values = values_for(self.plan, row, fills, added)
        absent = {at for at, value in enumerate(row) if value is ABSENT and at not in self.plan.fillable}
        names = self.plan.headers
        pairs = enumerate(zip(names, values, strict=True))
        document = {name: value for at, (name, value) in pairs if at not in absent}
        for at, value in fills.items():
            if isinstance(value, Label) and self.plan.columns[at].stored == "json":
                document[names[at]] = _parsed(value)
        self._stream.write(b"" if self._lines else b",\n" if self._rows else b"[")
        self._stream.write(orjson.dumps(document, default=str) + (b"\n" if self._lines else b""))
        self._rows += 1

    def close(self) -> None:
        if not self._lines:
            self._stream.write(b"]\n" if self._rows else b"[]\n")


def _parsed(label: str) -> Any:
    """A label of a column whose values are no text: the number or truth value that it reads as."""
    try:
        return orjson.loads(label)
    except orjson.JSONDecodeError:
        return label


class ExcelSource(Source):
    """The first sheet of an Excel book (.xlsx) that holds a table: two columns, and a row below the header.

    Arguments:
        where: The file, for messages.
        open_bytes: Opens the content from its start.
    """

    titles: Sequence[Sequence[Any]]
    """Lines above the header."""
    groups: tuple[str, ...]
    """Group of each column, from the line above names that repeat; none where there is no such line."""
    units: tuple[str, ...]
    """Cells of a line of units below the header; none where there is no such line."""
    descriptions: tuple[tuple[str, ...], ...]
    """Lines of texts below the header."""
    sheet: str
    """Title of the sheet."""

    def __init__(self, where: str, open_bytes: Callable[[], BinaryIO]) -> None:
        self._where, self._open_bytes = where, open_bytes
        self.sheet, *self._others = self._sheets()
        start = list(islice(self._lines(), LINES_SEEN))
        above = _titles_above(start)
        if above == len(start):
            raise UnreadableFile(f"{where} is an empty Excel sheet; a table needs a line of headers")
        self.titles = start[:above]
        width = _width(start[above])
        both = max(width, _width(start[above - 1])) if above else width
        self.groups = groups_above(_texts(start[above - 1 :], both)) if above else ()
        width = both if self.groups else width
        texts = _texts(start[above:], width)
        self.headers = with_groups(self.groups, texts[0]) if self.groups else tuple(texts[0])
        self.units = units_below(texts)
        self.descriptions = () if self.units else descriptions_below(texts, bool(self.groups))

    def rows(self) -> Iterator[Sequence[Any]]:
        return above_footer(self, self._body)

    def _body(self) -> Iterator[Sequence[Any]]:
        """Lines below the header."""
        width = len(self.headers)
        numbered = islice(enumerate(self._lines(), 1), self._above_rows(), None)
        if self.footer_lines is None:
            lines = of_one_table(numbered, self.headers, self._where)
        else:
            lines = (line for _, line in numbered)
        for line in lines:
            values = list(line[:width])
            yield values + [None] * (width - len(values))

    def _above_rows(self) -> int:
        return len(self.titles) + 1 + bool(self.units) + len(self.descriptions)

    def remarks(self) -> list[str]:
        """Sentences on other sheets, on merged cells, and on columns of formulas without results."""
        lines = []
        if merged := self._merged():
            lines.append(
                f"{listed(merged)}: cells are merged over rows: all but the first row of each are taken as "
                "missing; unmerge them and fill them down"
            )
        if self._others:
            lines.append(f"the table is in the sheet '{self.sheet}'; not read: {listed(self._others)}")
        start = len(self.titles) + 1
        both = zip(self._lines(), self._lines(formulas=True), strict=False)
        unread = dict.fromkeys(
            at
            for values, formulas in islice(both, start, start + LINES_SEEN)
            for at, (value, formula) in enumerate(zip(values, formulas, strict=False))
            if value is None and isinstance(formula, str) and formula.startswith("=")
        )
        if names := [self.headers[at] for at in unread if at < len(self.headers)]:
            lines.append(
                f"{listed(names)}: taken as missing: formulas without their results; open the book in a "
                "spreadsheet program and save it"
            )
        return lines

    def _merged(self) -> list[str]:
        """Headers of the columns in which cells below the header are merged over rows."""
        number_of = _openpyxl(self._where).utils.column_index_from_string
        above, columns = self._above_rows(), set()
        # openpyxl gives merged cells of books alone that it holds in memory as a whole.
        with self._opened() as book, book[self.sheet]._get_source() as xml:
            text = b""
            while piece := xml.read(2**20):
                text = text[-200:] + piece  # a range may lie across two pieces
                for match in MERGED.finditer(text):
                    column, first, last = match.groups()
                    if int(first) > above and first != last:
                        columns.add(number_of(column.decode()))
        return [header for at, header in enumerate(self.headers, 1) if at in columns]

    def _sheets(self) -> list[str]:
        """Titles of the sheets, first that with the table."""
        with self._opened() as book:
            sheets = book.worksheets
            tables = (at for at, one in enumerate(sheets) if _is_table(islice(one.values, LINES_SEEN)))
            first = next(tables, 0)
            titles = [one.title for one in sheets]
            return [titles.pop(first), *titles]

    def _lines(self, formulas: bool = False) -> Iterator[tuple[Any, ...]]:
        """Lines of the sheet: values, or formulas where there are."""
        with self._opened(formulas) as book:
            yield from book[self.sheet].iter_rows(values_only=True)

    @contextmanager
    def _opened(self, formulas: bool = False) -> Iterator[Any]:
        openpyxl = _openpyxl(self._where)
        with closing(self._open_bytes()) as stream:
            try:
                yield openpyxl.load_workbook(stream, read_only=True, data_only=not formulas)
            except UnreadableFile:
                raise
            except Exception as error:  # openpyxl raises exceptions of any type on damaged files
                raise UnreadableFile(
                    f"{self._where} cannot be read as an Excel book ({type(error).__name__}); save it as CSV"
                ) from None


def _width(line: Sequence[Any]) -> int:
    """The number of cells up to the last one that is filled."""
    return max((at + 1 for at, cell in enumerate(line) if cell is not None), default=0)


def _texts(lines: Sequence[Sequence[Any]], width: int) -> list[list[str]]:
    """Lines as text, all of one width."""
    return [[text_for(cell) for cell in (*line[:width], *[None] * (width - len(line)))] for line in lines]


def _is_table(lines: Iterable[Sequence[Any]]) -> bool:
    """Whether two lines have two filled cells each."""
    return sum(sum(cell is not None for cell in line) > 1 for line in lines) > 1


def _titles_above(lines: Sequence[Sequence[Any]]) -> int:
    """Number of lines above the header; all of them where no cell is filled.

    The header is the first line that reaches the last column of most lines and fills most columns before it.
    """
    filled = [[at for at, cell in enumerate(line) if cell is not None] for line in lines]
    widths = Counter(columns[-1] + 1 for columns in filled if columns)
    width = max(widths, key=lambda size: (widths[size], size), default=0)
    for place, columns in enumerate(filled):
        if columns and columns[-1] + 1 >= width and 2 * len(columns) > width:
            return place + names_stand_below(_texts(lines[place:], width))
    return next((place for place, columns in enumerate(filled) if columns), len(lines))


class ExcelWriter(Writer):
    """Writes the only sheet of a book.

    Arguments:
        stream: Open file.
        plan: What to write.
    """

    def __init__(self, stream: BinaryIO, plan: Plan) -> None:
        super().__init__(plan)
        openpyxl = _openpyxl("an Excel book")
        self._stream, self._book = stream, openpyxl.Workbook(write_only=True)
        source = plan.source if isinstance(plan.source, ExcelSource) else None
        self._sheet = self._book.create_sheet(source.sheet if source else None)
        self._cell, self._illegal = openpyxl.cell.WriteOnlyCell, openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE
        self._append_titles(source.titles if source else ())
        self._append([name or None for name in plan.names])
        if source and source.units:
            self._append([unit or None for unit in source.units])
        for texts in source.descriptions if source else ():
            self._append([text or None for text in texts])

    def _append_titles(self, titles: Sequence[Sequence[Any]]) -> None:
        width = len(self.plan.columns)
        for at, line in enumerate(titles, 1):
            beside = self.plan.beside_groups if at == len(titles) else []
            self._append([*line[:width], *[None] * (width - len(line)), *beside] if beside else line)

    def append(self, row: Sequence[Any], fills: Mapping[int, Any], added: Sequence[Any]) -> None:
        values = values_for(self.plan, row, fills, added)
        self._append([str(value) if isinstance(value, list | dict) else value for value in values])

    def _append(self, values: Sequence[Any]) -> None:
        self._sheet.append([self._text(value) if isinstance(value, str) else value for value in values])

    def _text(self, value: str) -> Any:
        """A cell of text without control characters, also where it begins like a formula."""
        cell = self._cell(self._sheet, self._illegal.sub("", value))
        cell.data_type = "s"
        return cell

    def close(self) -> None:
        for line in self.plan.footer():
            self._append([cell or None if isinstance(cell, str) else cell for cell in line])
        self._book.save(self._stream)

    def cancel(self) -> None:
        self._sheet.close()


def _openpyxl(where: str) -> Any:
    try:
        import openpyxl
    except ImportError:
        raise UnreadableFile(
            f"{where} is an Excel book, which needs the package openpyxl: install "
            "anyview[excel], or save it as CSV"
        ) from None
    return openpyxl
