"""Tables of text: CSV and its relatives, read line by line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, TextIO

from models_store.errors import UnreadableFile
from models_store.tables.dialect import ColumnDialect, TableLayout, footer_lines
from models_store.tables.footer import above_footer
from models_store.tables.headers import with_groups
from models_store.tables.known import KnownTables, recognise
from models_store.tables.output import Label, Plan, Writer, spelled, text_for
from models_store.tables.sniff import SAMPLE, encoding_of, protected, sniff
from models_store.tables.sources import Source
from models_store.tables.stacked import of_one_table

LONGEST_CELL = 2**24
END_OF_FILE = "\x1a"
"""Last character of texts of MS-DOS."""
csv.field_size_limit(LONGEST_CELL)


class TextSource(Source):
    """A text of cells.

    Arguments:
        where: The file, for messages.
        open_bytes: Opens the content, unpacked, from its start.
        layout: What is known of how it is written; the rest is detected.
        model_tables: Tables of a model, by whose headers the header is recognised.
        repeated_headers: Number of rows that repeat the header, which are left out.
    """

    typed = False
    repeated_headers = 0
    _line = 0
    """Number of the line that was read last, counted from 1."""

    def __init__(
        self,
        where: str,
        open_bytes: Callable[[], BinaryIO],
        layout: TableLayout | None = None,
        model_tables: KnownTables | None = None,
    ) -> None:
        self._where, self._open_bytes = where, open_bytes
        self.footer_lines = footer_lines(layout)
        trained = [table.encoding for table in model_tables.tables if table.encoding] if model_tables else []
        sample, encoding = self._sample(layout, trained)
        if model_tables is not None:
            self.dialect = recognise(sample, encoding, model_tables)
        else:
            self.dialect = sniff(sample, encoding, layout)
        first = next(self._lines(), [])
        if self.dialect.groups:
            self.headers = with_groups(self.dialect.groups, first)
        elif self.dialect.has_header:
            self.headers = ("", *first) if self.dialect.row_names else tuple(first)
        else:
            self.headers = tuple(f"column {at + 1}" for at in range(len(first)))

    def _sample(self, layout: TableLayout | None, likely: Sequence[str]) -> tuple[str, str]:
        """The first characters of the text, and its encoding."""
        encoding = (layout and layout.encoding) or encoding_of(self._open_bytes, likely)
        try:
            with closing(self._text(encoding)) as text:
                sample = text.read(SAMPLE)
        except UnicodeError:
            raise UnreadableFile(f"{self._where} is damaged text in {encoding}; save it as UTF-8") from None
        except LookupError:
            raise UnreadableFile(f"{self._where}: there is no encoding '{encoding}'; try utf-8") from None
        if not sample.strip():
            raise UnreadableFile(f"{self._where} is empty; a table needs a line of headers and rows below it")
        if "\0" in sample:
            raise UnreadableFile(
                f"{self._where} is no table of text: it holds NUL bytes; save it as CSV in UTF-8"
            )
        return sample, encoding

    def rows(self) -> Iterator[Sequence[str]]:
        width = len(self.headers)
        for index, row in enumerate(above_footer(self, self._body)):
            if len(row) != width:
                raise UnreadableFile(
                    f"{self._where}: row {index} (counted from 0) has {len(row)} cells, the header has "
                    f"{width}; put cells that contain '{self.dialect.delimiter}' in quotes, and remove "
                    "lines that are no rows"
                )
            yield row

    def _body(self) -> Iterator[Sequence[str]]:
        """Lines below the header, without blank ones and ones that repeat it, as in tables that were joined.

        Of a table of one column, blank lines are missing cells.
        """
        width = len(self.headers)
        dialect, header, self.repeated_headers = self.dialect, list(self.headers), 0
        above = dialect.has_header + bool(dialect.units) + len(dialect.descriptions)
        lines: Iterator[Sequence[str]] = islice(self._lines(), above, None)
        if self.footer_lines is None:
            lines = of_one_table(((self._line, row) for row in lines), header, self._where)
        for row in lines:
            if not row or row == [END_OF_FILE]:
                if width == 1 and not row:
                    yield [""]
            elif row == header and dialect.has_header and width > 1:
                self.repeated_headers += 1
            elif len(row) > width and not any(cell.strip() for cell in row[width:]):
                yield row[:width]
            else:
                yield row

    def _lines(self) -> Iterator[list[str]]:
        dialect = self.dialect
        with closing(self._text(dialect.encoding)) as text:
            for _ in dialect.preamble:
                text.readline()
            reader = csv.reader(
                map(protected, text) if dialect.backslashes else text,
                delimiter=dialect.delimiter,
                quotechar=dialect.quote,
                escapechar="\\" if dialect.backslashes else None,
                skipinitialspace=dialect.delimiter == " ",
            )
            try:
                for row in reader:
                    self._line = len(dialect.preamble) + reader.line_num
                    yield row
            except csv.Error as error:
                raise UnreadableFile(f"{self._where} cannot be read as a table: {error}") from None
            except UnicodeError:
                raise UnreadableFile(
                    f"{self._where} is not text in {dialect.encoding}; save it as UTF-8"
                ) from None

    def _text(self, encoding: str) -> TextIO:
        return io.TextIOWrapper(self._open_bytes(), encoding, newline="")


class TextWriter(Writer):
    """Writes rows as a dialect says, with the lines that stood before them.

    Arguments:
        stream: Open file of bytes.
        plan: What to write.
    """

    def __init__(self, stream: BinaryIO, plan: Plan) -> None:
        super().__init__(plan)
        dialect = plan.dialect
        self._text = io.TextIOWrapper(stream, dialect.encoding, newline="", errors="backslashreplace")
        writer = partial(
            csv.writer,
            self._text,
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            lineterminator=dialect.line_end,
        )
        self._quoting = writer(quoting=csv.QUOTE_ALL)
        self._writer = self._quoting if dialect.quote_all else writer()
        for at, line in enumerate(dialect.preamble, 1):
            beside = plan.beside_groups if at == len(dialect.preamble) else []
            self._text.write(line + (dialect.delimiter if beside else dialect.line_end))
            if beside:
                self._writer.writerow(beside)
        if dialect.has_header:
            self._writer.writerow(plan.names[dialect.row_names :])
        for below in filter(None, [dialect.units, *dialect.descriptions]):
            self._write_cells([*below, *("" for _ in plan.added)])

    def append(self, row: Sequence[Any], fills: Mapping[int, Any], added: Sequence[Any]) -> None:
        cells = [text_for(cell) for cell in row] if self.plan.source.typed else list(row)
        for at, value in fills.items():
            cells[at] = _filled(value, self.plan.columns[at])
        cells += [_filled(value, column.like) for value, column in zip(added, self.plan.added, strict=True)]
        self._write_cells(cells)

    def _write_cells(self, cells: Sequence[str]) -> None:
        if len(cells) == 1 and not cells[0]:  # csv writes "" for it
            self._text.write(self.plan.dialect.line_end)
        elif self.plan.dialect.delimiter == " " and "" in cells:  # blanks in a row are one delimiter
            self._quoting.writerow(cells)
        elif self.plan.dialect.backslashes:
            self._write_escaped(cells)
        else:
            self._writer.writerow(cells)

    def _write_escaped(self, cells: Sequence[str]) -> None:
        """Writes a row in which a backslash stands before each quote; csv would escape backslashes, too."""
        dialect = self.plan.dialect
        special = {dialect.delimiter, dialect.quote, "\r", "\n"}
        texts = [
            f"{dialect.quote}{cell.replace(dialect.quote, chr(92) + dialect.quote)}{dialect.quote}"
            if dialect.quote_all or not special.isdisjoint(cell)
            else cell
            for cell in cells
        ]
        self._text.write(dialect.delimiter.join(texts) + dialect.line_end)

    def close(self) -> None:
        for line in self.plan.footer():
            self._write_cells(list(map(text_for, line)))
        self._text.flush()
        self._text.detach()


def _filled(value: Any, column: ColumnDialect | None) -> str:
    """A number or a label as the column writes such."""
    if type(value) is str:  # a cell of the table
        return value
    if column is None:
        return text_for(value)
    if isinstance(value, float):
        return spelled(value, column)
    if isinstance(value, Label) and column.content == "number":
        zeros = f".{'0' * column.zeros}" if column.zeros and value.lstrip("+-").isdecimal() else ""
        return f"{value}{zeros}".replace(".", column.decimal)
    return text_for(value)
