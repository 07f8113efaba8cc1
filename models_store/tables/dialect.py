"""How a table is written: stored with experiments and models, so that tables are read and written alike."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Format = Literal["csv", "parquet", "excel", "json", "jsonl"]
Compression = Literal["none", "gzip", "zstd"]


class ColumnDialect(BaseModel):
    """How one column is written.

    Arguments:
        header: As the file spells it.
        name: Unique among the columns of the table.
        unit: From the header or from a line of units.
        content: ``number``, ``text``, ``vector``, or ``unread`` for a type that no model learns from.
        decimal: The decimal mark of its numbers.
        percent: Its numbers end with a percent sign.
        missing: Cells that mean a missing value in this column, besides empty ones.
        stored: The type of the column in the file, where the format has types.
        width: Numbers in a vector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: str
    name: str
    unit: str | None = None
    content: Literal["number", "text", "vector", "unread"] = "text"
    decimal: Literal[".", ","] = "."
    percent: bool = False
    missing: tuple[str, ...] = ()
    stored: str | None = None
    width: int = 1


class Dialect(BaseModel):
    """How a table is written.

    Arguments:
        format: Format of the file.
        compression: Around it.
        encoding: Of text, as Python names it.
        delimiter: Between two cells.
        quote: Around a cell that holds a delimiter or a line break.
        quote_all: Every cell has quotes.
        line_end: Of a line of text.
        preamble: Lines before the header: titles, comments, ``sep=;``.
        has_header: Whether the first line after the preamble names the columns.
        units: Cells of a line of units below the header; none where there is no such line.
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
    line_end: str = "\n"
    preamble: tuple[str, ...] = ()
    has_header: bool = True
    units: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    columns: tuple[ColumnDialect, ...] = ()

    @property
    def headers(self) -> tuple[str, ...]:
        """Headers as the file spells them."""
        return tuple(column.header for column in self.columns)
