"""How a table is written: stored with experiments and models, so that tables are read and written alike."""

from __future__ import annotations

import unicodedata
from functools import cached_property
from statistics import mode
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from models_store.limits import Text

Format = Literal["csv", "parquet", "excel", "json", "jsonl"]
Compression = Literal["none", "gzip", "zstd"]
DecimalMark = Literal[".", ","]
ThousandsMark = Annotated[
    Literal["", ",", ".", "'", " ", "\u00a0", "\u202f"], WithJsonSchema({"type": "string"})
]
"""Plain text in schemas: generators of clients cannot name the blanks of an enumeration."""


class ColumnDialect(BaseModel):
    """How one column is written.

    Arguments:
        header: As the file spells it.
        name: Unique among the columns of the table.
        unit: From the header or from a line of units.
        content: ``number``, ``text``, ``vector``, or ``unread`` for a type that no model learns from.
        decimal: The decimal mark of its numbers.
        thousands: The mark between groups of three digits; empty where there is none.
        percent: Its numbers end with a percent sign.
        prefix: Text before each of its numbers, such as ``$``.
        suffix: Text behind each of its numbers, such as `` kg``.
        zeros: Zeros behind the decimal mark of its numbers, where all are whole and written so.
        missing: Cells that mean a missing value in this column, besides empty ones.
        stored: The type of the column in the file, where the format has types.
        width: Numbers in a vector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: str
    name: str
    unit: str | None = None
    content: Literal["number", "text", "vector", "unread"] = "text"
    decimal: DecimalMark = "."
    thousands: ThousandsMark = ""
    percent: bool = False
    prefix: str = ""
    suffix: str = ""
    zeros: int = 0
    missing: tuple[str, ...] = ()
    stored: str | None = None
    width: int = 1

    @property
    def has_unit(self) -> bool:
        """Whether each number stands beside a unit or a currency."""
        return bool(self.prefix or self.suffix)


class Dialect(BaseModel):
    """How a table is written.

    Arguments:
        format: Format of the file.
        compression: Around it.
        encoding: Of text, as Python names it.
        delimiter: Between two cells.
        quote: Around a cell that holds a delimiter or a line break.
        quote_all: Every cell has quotes.
        backslashes: A backslash stands before each quote within quotes, as databases and Spark write.
        line_end: Of a line of text.
        preamble: Lines before the header: titles, comments, ``sep=;``.
        has_header: Whether the first line after the preamble names the columns.
        groups: Of each column, the group that the last line of the preamble names, where names repeat; a
            header is the group, a blank and the name in it.
        row_names: The header lacks a cell for the first column, as R writes it.
        units: Cells of a line of units below the header; none where there is no such line.
        descriptions: Lines of texts below the header that describe the columns.
        missing: Cells that mean a missing value in all columns, besides empty ones.
        columns: From left to right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format = "csv"
    compression: Compression = "none"
    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str = '"'
    quote_all: bool = False
    backslashes: bool = False
    line_end: str = "\n"
    preamble: tuple[str, ...] = ()
    has_header: bool = True
    groups: tuple[str, ...] = ()
    row_names: bool = False
    units: tuple[str, ...] = ()
    descriptions: tuple[tuple[str, ...], ...] = ()
    missing: tuple[str, ...] = ()
    columns: tuple[ColumnDialect, ...] = ()

    @property
    def headers(self) -> tuple[str, ...]:
        """Headers as the file spells them."""
        return tuple(column.header for column in self.columns)


class TableLayout(BaseModel):
    """How a file of rows is written, in an experiment and in a manifest. What is left out is detected."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Format | None = None
    """Format of the file."""
    encoding: Text | None = None
    """Encoding of text, as Python names it."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Character between two cells of text."""
    quote: str | None = Field(default=None, min_length=1, max_length=1)
    """Character around a cell that holds a delimiter or a line break."""
    decimal: DecimalMark | None = None
    """Decimal mark of the numbers in text."""
    thousands: ThousandsMark | None = None
    """Mark between groups of three digits; empty where there is none."""
    missing: tuple[Text, ...] = ()
    """Cells that mean a missing value in every column, besides empty ones."""
    title_lines: int | None = Field(default=None, ge=0)
    """Number of lines before the header."""
    header: bool | None = None
    """Whether a line names the columns; without one they are called ``column 1``, ``column 2``, …"""


class FileDialect(TableLayout):
    """How a file of rows is written, in an experiment. What is left out is detected."""

    missing_in: dict[Text, tuple[Text, ...]] = {}
    """By header, further cells that mean a missing value in that column."""
    footer_lines: int | None = Field(default=None, ge=0)
    """Number of lines below the last row of text or Excel, such as totals and notes; default: by their words
    and sums."""


class StoredColumn(BaseModel):
    """A column of a training table, where it is written unlike most of its table."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    header: Text
    """Header as the file spells it."""
    decimal: DecimalMark | None = None
    """Decimal mark of its numbers."""
    thousands: ThousandsMark | None = None
    """Mark between groups of three digits."""
    percent: bool | None = None
    """Its numbers end with a percent sign."""
    prefix: Text | None = None
    """Text before each of its numbers, such as ``$``."""
    suffix: Text | None = None
    """Text behind each of its numbers, such as `` kg``."""
    missing: tuple[Text, ...] | None = None
    """Cells that mean a missing value in this column."""


class TrainingTable(TableLayout):
    """How a table that trained a model is written: no cell of it, but the headers of all its columns."""

    modalities: tuple[Text, ...] = ()
    """Modalities that the table holds."""
    columns: tuple[StoredColumn, ...] = ()
    """Columns from left to right, those that no modality has among them."""

    @cached_property
    def headers(self) -> frozenset[str]:
        """Normalised headers of all columns."""
        return frozenset(normal(column.header) for column in self.columns)


def footer_lines(layout: TableLayout | None) -> int | None:
    """The stated number of lines below the last row; None where they are to be detected."""
    return layout.footer_lines if isinstance(layout, FileDialect) else None


def normal(header: str) -> str:
    """A header without blanks around it, in the composed form of Unicode."""
    return unicodedata.normalize("NFC", header).strip()


def layout_of(dialect: Dialect) -> TableLayout:
    """The layout of a table; of text only what text has."""
    decimals = [column.decimal for column in dialect.columns if column.content == "number"]
    thousands = [column.thousands for column in dialect.columns if column.content == "number"]
    layout = TableLayout(format=dialect.format, missing=dialect.missing)
    if dialect.format != "csv":
        return layout
    return layout.model_copy(
        update={
            "encoding": dialect.encoding,
            "delimiter": dialect.delimiter,
            "quote": dialect.quote,
            "decimal": mode(decimals or ["."]),
            "thousands": mode(thousands or [""]),
            "title_lines": len(dialect.preamble),
            "header": dialect.has_header,
        }
    )


def training_table(dialect: Dialect, modalities: tuple[str, ...]) -> TrainingTable:
    """The description of a table that a manifest keeps."""
    layout = layout_of(dialect)
    columns = tuple(_stored(column, layout) for column in dialect.columns)
    return TrainingTable(**layout.model_dump(), modalities=modalities, columns=columns)


def _stored(column: ColumnDialect, layout: TableLayout) -> StoredColumn:
    number = column.content == "number"
    return StoredColumn(
        header=column.header,
        decimal=column.decimal if number and column.decimal != (layout.decimal or ".") else None,
        thousands=column.thousands if number and column.thousands != (layout.thousands or "") else None,
        percent=column.percent or None,
        prefix=column.prefix or None,
        suffix=column.suffix or None,
        missing=column.missing if set(column.missing) != set(layout.missing) else None,
    )
