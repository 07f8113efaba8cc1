"""Reads a table of any format: see the package for the rules."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import zstandard

from models_store.arrays import Array
from models_store.errors import UnreadableFile, WrongValue, listed
from models_store.tables import cells
from models_store.tables.dialect import ColumnDialect, Compression, Dialect, Format
from models_store.tables.documents import ExcelSource, JsonSource
from models_store.tables.parquet import ParquetSource
from models_store.tables.sources import Cell, Source
from models_store.tables.survey import repeated, survey
from models_store.tables.text import TextSource

CELLS_AT_ONCE = 2**20
"""Cells in a block; what is in memory at a time is a small multiple of this."""


@dataclass(frozen=True)
class Block:
    """Some consecutive rows.

    Arguments:
        table: To which they belong.
        first_row: The number of the first, counted from 0.
        rows: Cells as the file has them.
    """

    table: Table
    first_row: int
    rows: Sequence[Sequence[Cell]]

    def numbers(self, column: int) -> Array:
        """A column of numbers or vectors as floats, NaN where missing: (n,) or (n, width).

        Raises:
            WrongValue: A cell is neither a number nor missing.
        """
        how = self.table.dialect.columns[column]
        matches = [row[column] for row in self.rows]
        if how.content == "vector":
            return self._vectors(how, matches)
        texts = [None if isinstance(cell, list) else cell for cell in matches]
        try:
            return cells.numbers(texts, how.decimal, how.missing)
        except ValueError as error:
            row, _, reason = str(error).partition(": ")
            raise WrongValue(
                f"{self.table.where}: row {self.first_row + int(row)} (counted from 0), column "
                f"'{how.header}': {reason}; name it in missing, or correct it"
            ) from None

    def texts(self, column: int) -> list[str | None]:
        """A column as trimmed text, None where missing; numbers have a decimal point and no groups."""
        how = self.table.dialect.columns[column]
        absent = cells.EMPTY.union(how.missing)
        trimmed = [
            cell.strip() if isinstance(cell, str) else "" for cell in (row[column] for row in self.rows)
        ]
        matches = [None if cell in absent else cell for cell in trimmed]
        if how.content != "number":
            return matches
        return [cell if cell is None else _with_point(cell, how.decimal) for cell in matches]

    def _vectors(self, how: ColumnDialect, found: Sequence[Cell]) -> Array:
        values = np.full((len(found), how.width), np.nan)
        for row, cell in enumerate(found):
            if cell is not None:
                with suppress(TypeError, ValueError):
                    values[row] = np.array(cell, dtype=float)
                    continue
                raise WrongValue(
                    f"{self.table.where}: row {self.first_row + row} (counted from 0), column '{how.header}' "
                    f"must hold {how.width} numbers"
                )
        return values


def _with_point(cell: str, decimal: str) -> str:
    """A number as Python spells it, with all its digits."""
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
    """

    where: str
    dialect: Dialect
    report: tuple[str, ...]
    source: Source

    def blocks(self, rows: int | None = None) -> Iterator[Block]:
        """All rows in the order of the file; a block has so many, or what fits in memory."""
        size = rows or max(1, CELLS_AT_ONCE // max(1, len(self.dialect.columns)))
        start, taken = 0, list[Sequence[Cell]]()
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
        return sum(1 for _ in self.source.rows())

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
    dialect: Dialect | None = None,
    missing: Sequence[str] = (),
    missing_by_column: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Opens a table: finds out how it is written, unless that is known.

    Arguments:
        content: A file, or its bytes.
        dialect: Of a table of the same kind, such as the one that trained a model: its columns, by header,
            keep their content, decimal mark and marks for missing values; others are looked at.
        missing: Marks for a missing value in any column.
        missing_by_column: Further marks, by header.

    Raises:
        UnreadableFile: It is no table, or damaged.
        WrongValue: Two headers are equal.
    """
    where = str(content) if isinstance(content, Path) else "the table"
    packed, kept = _unpacked(content, where)
    layout, source = _open(packed, where, dialect)
    if clause := repeated([header for header in source.headers if header.strip()]):
        raise WrongValue(f"{where}: {clause}; give every column a name of its own")
    layout = layout.model_copy(update={"compression": kept, "missing": tuple(missing)})
    matches = survey(source, layout.units, missing, missing_by_column or {})
    columns = {column.header: column for column in dialect.columns} if dialect else {}
    described = tuple(_as_known(column, columns.get(column.header)) for column in matches.columns)
    return Table(where, layout.model_copy(update={"columns": described}), matches.report, source)


def _as_known(fresh: ColumnDialect, known: ColumnDialect | None) -> ColumnDialect:
    """A column of a known table; its numbers may be written with another decimal mark here."""
    if known is None or fresh.content == "unread":
        return fresh
    decimal = fresh.decimal if fresh.content == "number" else known.decimal
    return known.model_copy(update={"decimal": decimal, "stored": fresh.stored})


def _open(content: Path | bytes, where: str, dialect: Dialect | None) -> tuple[Dialect, Source]:
    """The source that suits the first bytes of a content."""

    def open_bytes() -> BinaryIO:
        return content.open("rb") if isinstance(content, Path) else io.BytesIO(content)

    try:
        with open_bytes() as stream:
            start = stream.read(4096)
    except OSError as error:
        raise UnreadableFile(f"{where} cannot be read: {error.strerror}") from None
    kind = _format(start, content, where)
    if kind == "parquet":
        return Dialect(format=kind), ParquetSource(_on_disk(content), where)
    if kind == "excel":
        return Dialect(format=kind), ExcelSource(where, open_bytes)
    if kind in ("json", "jsonl"):
        return Dialect(format=kind), JsonSource(where, open_bytes, lines=kind == "jsonl")
    source = TextSource(where, open_bytes, dialect if dialect and dialect.format == "csv" else None)
    return source.dialect.model_copy(update={"columns": ()}), source


def _format(start: bytes, content: Path | bytes, where: str) -> Format:
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"PK\x03\x04"):
        return _archive(content, where)
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise UnreadableFile(f"{where} is an old Excel book (.xls); save it as .xlsx or CSV")
    if start.startswith((b"\x89HDF", b"SQLite", b"%PDF", b"\x93NUMPY")):
        raise UnreadableFile(f"{where} is no table of text: it begins with {start[:8]!r}; save it as CSV")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b'{"', b"{ ", b"{}", b"{\n", b"{\r")):
        with suppress(json.JSONDecodeError):
            json.loads(text.splitlines()[0])
            return "jsonl"
        return "json" if text.splitlines()[0].count(b"}") == 0 or len(text) >= 4000 else "jsonl"
    return "json" if text[:1] == b"[" and text[1:].lstrip()[:1] in (b"{", b"]", b"[") else "csv"


def _archive(content: Path | bytes, where: str) -> Format:
    try:
        with zipfile.ZipFile(content if isinstance(content, Path) else io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise UnreadableFile(f"{where} is a damaged archive; make it again") from None
    if any(name.startswith("xl/") for name in names):
        return "excel"
    raise UnreadableFile(f"{where} is an archive of {listed(names[:5])}; unpack it and name the table in it")


def _unpacked(content: Path | bytes, where: str) -> tuple[Path | bytes, Compression]:
    """The content without its compression; of a file, unpacked into a file that the system forgets."""
    try:
        start = content[:4] if isinstance(content, bytes) else _first_bytes(content)
    except OSError as error:
        raise UnreadableFile(f"{where} cannot be read: {error.strerror}") from None
    if not start:
        raise UnreadableFile(f"{where} is empty; a table needs a line of headers and rows below it")
    if start.startswith(b"\x1f\x8b"):
        return _unpack(content, where, "gzip"), "gzip"
    if start == b"\x28\xb5\x2f\xfd":
        return _unpack(content, where, "zstd"), "zstd"
    return content, "none"


def _unpack(content: Path | bytes, where: str, packed: Compression) -> bytes:
    stream = content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
    with stream:
        try:
            if packed == "gzip":
                with gzip.GzipFile(fileobj=stream) as unpacked:
                    return unpacked.read()
            with zstandard.ZstdDecompressor().stream_reader(stream) as reader:
                return reader.read()
        except (OSError, EOFError, zlib.error, zstandard.ZstdError, ValueError) as error:
            raise UnreadableFile(f"{where} is damaged {packed}: {error}") from None


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(4)


def _on_disk(content: Path | bytes) -> Path:
    """A path for what only reads files; bytes go to one that lives as long as the process."""
    if isinstance(content, Path):
        return content
    with tempfile.NamedTemporaryFile(suffix=".parquet", delete=False) as file:
        file.write(content)
    return Path(file.name)
