"""Tables of text: CSV and its relatives, read line by line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import BinaryIO, TextIO

from models_store.errors import UnreadableFile
from models_store.tables.dialect import Dialect
from models_store.tables.sniff import SAMPLE, encoding_of, sniff
from models_store.tables.sources import Cell, Source

LONGEST_CELL = 2**24
csv.field_size_limit(LONGEST_CELL)


class TextSource(Source):
    """A text of cells.

    Arguments:
        where: The file, for messages.
        open_bytes: Opens the content, unpacked, from its start.
        dialect: How it is written; sniffed where None.
    """

    def __init__(self, where: str, open_bytes: Callable[[], BinaryIO], dialect: Dialect | None) -> None:
        self._where, self._open_bytes = where, open_bytes
        with closing(open_bytes()) as stream:
            encoding = encoding_of(stream)
        try:
            with closing(self._text(encoding)) as text:
                sample = text.read(SAMPLE)
        except UnicodeError:
            raise UnreadableFile(f"{where} is damaged text in {encoding}; save it as UTF-8") from None
        if not sample.strip():
            raise UnreadableFile(f"{where} is empty; a table needs a line of headers and rows below it")
        if "\0" in sample:
            raise UnreadableFile(f"{where} is no table of text: it holds NUL bytes; save it as CSV in UTF-8")
        if dialect is None:
            self.dialect = sniff(sample, encoding)
        else:
            self.dialect = self._same_layout(dialect, sample, encoding)
        first = next(self._lines(), [])
        if self.dialect.has_header:
            self.headers = tuple(first)
        else:
            self.headers = tuple(f"column {at + 1}" for at in range(len(first)))

    @staticmethod
    def _same_layout(dialect: Dialect, sample: str, encoding: str) -> Dialect:
        """A known dialect for another file: its own encoding, line ends and lines before the header."""
        fresh = sniff(sample, encoding)
        keep = {"encoding", "line_end", "preamble", "units"}
        if not _splits(dialect, fresh, sample):
            keep |= {"delimiter", "quote", "quote_all", "has_header"}
        return dialect.model_copy(update={name: getattr(fresh, name) for name in keep})

    def rows(self) -> Iterator[Sequence[Cell]]:
        lines = self._lines()
        width = len(self.headers)
        for _ in range(self.dialect.has_header + bool(self.dialect.units)):
            next(lines, None)
        for index, row in enumerate(lines):
            if len(row) != width:
                if not row:  # a blank line: of a table of one column, a missing cell
                    if width == 1:
                        yield [""]
                    continue
                if len(row) > width and not any(cell.strip() for cell in row[width:]):
                    yield row[:width]
                    continue
                raise UnreadableFile(
                    f"{self._where}: row {index} (counted from 0) has {len(row)} cells, the header has "
                    f"{width}; put cells that contain '{self.dialect.delimiter}' in quotes"
                )
            yield row

    def _lines(self) -> Iterator[list[str]]:
        dialect = self.dialect
        with closing(self._text(dialect.encoding)) as text:
            for _ in dialect.preamble:
                text.readline()
            try:
                yield from csv.reader(
                    text,
                    delimiter=dialect.delimiter,
                    quotechar=dialect.quote,
                    skipinitialspace=dialect.delimiter == " ",
                )
            except csv.Error as error:
                raise UnreadableFile(f"{self._where} cannot be read as a table: {error}") from None
            except UnicodeError:
                raise UnreadableFile(
                    f"{self._where} is not text in {dialect.encoding}; save it as UTF-8"
                ) from None

    def _text(self, encoding: str) -> TextIO:
        return io.TextIOWrapper(self._open_bytes(), encoding, newline="")


def _splits(dialect: Dialect, fresh: Dialect, sample: str) -> bool:
    """Whether the header of a text, split as a known dialect says, holds a known header."""
    lines = sample.splitlines()[len(fresh.preamble) :]
    if not lines or not dialect.has_header:
        return bool(lines)
    cells = next(
        csv.reader([lines[0].replace("\r", " ")], delimiter=dialect.delimiter, quotechar=dialect.quote), []
    )
    return len(cells) > 1 and bool(set(cells) & set(dialect.headers))


def write_text(stream: TextIO, dialect: Dialect, rows: Iterator[Sequence[Cell]]) -> None:
    """Writes rows as a dialect says, with the lines that stood before them."""
    stream.writelines(line + dialect.line_end for line in dialect.preamble)
    writer = csv.writer(
        stream,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        lineterminator=dialect.line_end,
        quoting=csv.QUOTE_ALL if dialect.quote_all else csv.QUOTE_MINIMAL,
    )
    if dialect.has_header:
        writer.writerow(dialect.headers)
    if dialect.units:
        writer.writerow(dialect.units)
    for row in rows:
        writer.writerow(["" if cell is None else cell for cell in row])
