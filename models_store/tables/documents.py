"""Tables as JSON, JSON lines and Excel books."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, BinaryIO

import orjson

from models_store.errors import UnreadableFile
from models_store.tables.dialect import ColumnDialect, Dialect
from models_store.tables.sources import Cell, Source, as_cell


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

    def rows(self) -> Iterator[Sequence[Cell]]:
        for row in self._objects():
            yield [
                None if kind == "STRUCT" else as_cell(row.get(name))
                for name, kind in zip(self.headers, self.stored or (), strict=True)
            ]

    def _objects(self) -> Iterator[dict[str, Any]]:
        with closing(self._open_bytes()) as stream:
            documents = (line for line in stream if line.strip()) if self._by_line else [stream.read()]
            try:
                for document in documents:
                    value = orjson.loads(document)
                    for row in [value] if self._by_line else _listed(value):
                        if not isinstance(row, dict):
                            raise UnreadableFile(
                                f"{self._where} is JSON, but not a table: write a list of objects by column"
                            )
                        yield row
            except orjson.JSONDecodeError as error:
                raise UnreadableFile(f"{self._where} is damaged JSON: {error}") from None


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
    if columns and all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return [None]


def write_json(stream: BinaryIO, dialect: Dialect, rows: Iterator[Sequence[Cell]]) -> None:
    """Writes rows as a list of objects, or one object a line; cells keep the type that they had."""
    lines = dialect.format == "jsonl"
    for index, row in enumerate(rows):
        stream.write((b"" if lines else b",\n") if index else b"" if lines else b"[")
        values = [_as_json(cell, column) for cell, column in zip(row, dialect.columns, strict=True)]
        stream.write(
            orjson.dumps(dict(zip(dialect.headers, values, strict=True))) + (b"\n" if lines else b"")
        )
    stream.write(b"" if lines else b"]\n")


def _as_json(cell: Cell, column: ColumnDialect) -> Any:
    """A cell as it was: text, or what its text is in JSON."""
    if not isinstance(cell, str) or column.stored == "string":
        return cell
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell


class ExcelSource(Source):
    """The first sheet of an Excel book (.xlsx).

    Arguments:
        where: The file, for messages.
        open_bytes: Opens the content from its start.
    """

    def __init__(self, where: str, open_bytes: Callable[[], BinaryIO]) -> None:
        self._where, self._open_bytes = where, open_bytes
        first = next(self._lines(), None)
        if first is None:
            raise UnreadableFile(f"{where} is an empty Excel sheet; a table needs a line of headers")
        filled = [at for at, cell in enumerate(first) if cell is not None]
        self.headers = tuple("" if cell is None else str(as_cell(cell)) for cell in first[: filled[-1] + 1])

    def rows(self) -> Iterator[Sequence[Cell]]:
        width = len(self.headers)
        for line in islice(self._lines(), 1, None):
            cells = [as_cell(cell) for cell in line[:width]]
            yield cells + [None] * (width - len(cells))

    def _lines(self) -> Iterator[tuple[Any, ...]]:
        """Lines of the sheet from the first one in which more than one cell is filled."""
        openpyxl = _openpyxl(self._where)
        with closing(self._open_bytes()) as stream:
            try:
                book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
                started = False
                for line in book.worksheets[0].iter_rows(values_only=True):
                    started = started or sum(cell is not None for cell in line) > 1
                    if started:
                        yield line
            except UnreadableFile:
                raise
            except Exception as error:
                raise UnreadableFile(
                    f"{self._where} cannot be read as an Excel book ({type(error).__name__}); save it as CSV"
                ) from None


def write_excel(stream: BinaryIO, dialect: Dialect, rows: Iterator[Sequence[Cell]]) -> None:
    """Writes rows as the only sheet of a book."""
    book = _openpyxl("an Excel book").Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(list(dialect.headers))
    for row in rows:
        sheet.append(
            [_typed(cell, column.content) for cell, column in zip(row, dialect.columns, strict=True)]
        )
    book.save(stream)


def _typed(cell: Cell, content: str) -> Any:
    if content != "number" or not isinstance(cell, str):
        return cell
    try:
        return float(cell) if "." in cell or "e" in cell else int(cell)
    except ValueError:
        return cell


def _openpyxl(where: str) -> Any:
    try:
        import openpyxl
    except ImportError:
        raise UnreadableFile(
            f"{where} is an Excel book, which needs the package openpyxl: install "
            "anyview[excel], or save it as CSV"
        ) from None
    return openpyxl
