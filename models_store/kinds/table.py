"""Rows of a vector or of counts as text: JSON or CSV. An empty cell, or null, is missing."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, BinaryIO, TextIO

import numpy as np
import orjson

from models_store.arrays import Array
from models_store.errors import LONGEST_LISTED, UnreadableFile, WrongValue, shown
from models_store.kinds import arrays
from models_store.kinds.fields import ModalityFields
from models_store.tables.dialect import normal

MOST_CHARACTERS = 2**22
"""Longest line of a table."""
MOST_VALUES = 2**21
"""Numbers of a JSON text, which is parsed in some 0.1 s, while no other thread runs."""
WEIGHTS = {b",": 1, b'"': 1, b":": 3, b"[": 3, b"{": 3}
"""Values that each mark counts as: a text, list or object takes as long as 3 numbers, a name as 5."""
COUNTED_AT_ONCE = 2**20
"""Bytes in which marks are counted at a time; between two counts other threads run."""


def read(modality: ModalityFields, content: bytes) -> Array:
    """Read rows from a text file.

    Arguments:
        modality: Modality of the rows: a vector or counts.
        content: JSON (``[…]`` or ``{…}`` one row, a list of them several), or CSV, with a header that names
            columns or without one.

    Raises:
        UnreadableFile: The text is neither JSON nor CSV.
        WrongValue: A column is unknown, a cell no number, or a row has another length.
    """
    if is_json(content):
        return _from_json(modality, read_json(content))
    lines = read_csv(as_text(io.BytesIO(content)))
    first = next(lines, None)
    if first is None:
        raise UnreadableFile("the table is empty")
    if _is_header(modality, first):
        return _from_table(modality, first, numbers(len(first), lines))
    return numbers(len(first), chain([first], lines))


def from_object(modality: ModalityFields, row: Mapping[str, Any]) -> Array:
    """Read one row from values by column; a column without a value is a missing cell.

    Raises:
        WrongValue: A column is unknown or named twice, or a value is no number.
    """
    return arrays.from_lists(modality, cells_of(modality, row))


def cells_of(modality: ModalityFields, row: Mapping[str, Any]) -> list[Any]:
    """Values by column in the order of the columns, None where there is none.

    Raises:
        WrongValue: A column is unknown or named twice.
    """
    values = dict(zip(names_of(modality, row), row.values(), strict=True))
    return [values.get(name) for name in modality.column_names]


def is_json(content: bytes) -> bool:
    """Whether a text begins like a JSON list or object."""
    return content.lstrip()[:1] in (b"[", b"{")


def json_values(content: bytes, end: int | None = None) -> int:
    """Count the values of a JSON text before it is parsed, weighted by the time and the memory they take.

    Arguments:
        content: The text.
        end: Bytes of it that count; None: all.

    Returns:
        The values, or some number above ``MOST_VALUES``.
    """
    end, values = len(content) if end is None else end, 0
    for start in range(0, end, COUNTED_AT_ONCE):
        stop = min(end, start + COUNTED_AT_ONCE)
        values += sum(weight * content.count(mark, start, stop) for mark, weight in WEIGHTS.items())
        if values > MOST_VALUES:
            break
    return values


def read_json(content: bytes) -> Any:
    """Parse a JSON text.

    Raises:
        UnreadableFile: The text is no JSON, or has too many values.
    """
    if json_values(content) > MOST_VALUES:
        raise UnreadableFile(f"JSON may have {MOST_VALUES} values, and this has more; send .npy")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise UnreadableFile(f"damaged JSON: {error}") from None


def as_text(stream: BinaryIO) -> TextIO:
    """Text of a table: UTF-8, with or without a byte order mark; line ends unchanged."""
    return io.TextIOWrapper(stream, "utf-8-sig", newline="")


LONGEST_CELL = 131_072
"""Characters of a cell in a request."""


def read_csv(text: TextIO) -> Iterator[list[str]]:
    """Yield the stripped cells of each line of a comma-separated table.

    Raises:
        UnreadableFile: The bytes are no UTF-8, or lines differ in their number of cells.
    """
    first: list[str] | None = None
    try:
        for number, line in enumerate(filter(None, csv.reader(_short_lines(text)))):
            first = first or line
            if max(map(len, line)) > LONGEST_CELL:  # the limit of csv belongs to the process, others raise it
                raise csv.Error(f"field larger than field limit ({LONGEST_CELL})")
            if len(line) != len(first):
                raise UnreadableFile(
                    f"line {number} (counted from 0) has {len(line)} cells, line 0 has {len(first)}"
                )
            yield [cell.strip() for cell in line]
    except UnicodeDecodeError as error:
        start = error.object[error.start : error.start + 8]
        raise UnreadableFile(f"must be text (UTF-8) or .npy, got the bytes {start!r}") from None
    except csv.Error as error:
        raise UnreadableFile(f"damaged CSV: {error}") from None


def number(cell: str) -> float:
    """Parse the number in a cell of a table; an empty cell is NaN.

    Raises:
        WrongValue: The cell is no number.
    """
    if not _is_number(cell):
        raise WrongValue(f"a cell must be a number or empty, got {shown(cell)}")
    return float(cell) if cell else math.nan


def numbers(width: int, lines: Iterable[Sequence[str]]) -> Array:
    """Parse lines of numbers, (lines, width); an empty cell is NaN.

    Raises:
        WrongValue: A cell is no number.
    """

    def cells() -> Iterator[float]:
        for index, line in enumerate(lines):
            try:
                yield from map(number, line)
            except WrongValue as error:
                raise WrongValue(f"line {index} of numbers (counted from 0): {error}") from None

    return np.fromiter(cells(), np.float64).reshape(-1, width)


def _from_json(modality: ModalityFields, value: Any) -> Array:
    if isinstance(value, dict):
        value = [value]
    if any(isinstance(row, dict) for row in value):
        arrays.refuse_booleans(modality, value)
        rows = [
            from_object(modality, row) if isinstance(row, dict) else arrays.from_lists(modality, row)
            for row in value
        ]
        if any(row.shape != modality.shape for row in rows):
            raise WrongValue(f"rows must have the shape {modality.shape}")
        return np.stack(rows)
    return arrays.from_nested(modality, value)


def _is_header(modality: ModalityFields, line: Sequence[str]) -> bool:
    """Whether a first line names columns: a cell is no number, or the cells are the column names."""
    named = modality.columns is not None and set(line) == set(modality.column_names)
    return named or not all(_is_number(cell) for cell in line)


def _from_table(modality: ModalityFields, header: Sequence[str], cells: Array) -> Array:
    places = {name: index for index, name in enumerate(modality.column_names)}
    values = np.full((len(cells), len(places)), math.nan)
    values[:, [places[name] for name in names_of(modality, header)]] = cells
    return values


def _short_lines(text: TextIO) -> Iterator[str]:
    while line := text.readline(MOST_CHARACTERS + 1):
        if len(line) > MOST_CHARACTERS:
            raise UnreadableFile(f"a line of a table may have {MOST_CHARACTERS} characters")
        yield line


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return "_" not in cell  # Python takes 1_000 for a number, no table does


def names_of(modality: ModalityFields, given: Collection[str]) -> list[str]:
    """Names of columns that are given by name or by their header in the training table.

    Raises:
        WrongValue: A column is unknown, or named twice.
    """
    aliases = modality.column_aliases
    names = [aliases.get(name) or aliases.get(normal(name)) for name in given]
    if None in names:
        unknown = next(one for one, name in zip(given, names, strict=True) if name is None)
        first = ", ".join(name[:LONGEST_LISTED] for name in modality.column_names[:10])
        first += ", …" if len(modality.column_names) > 10 else ""
        raise WrongValue(f"unknown column {shown(unknown)}; the columns are {first}")
    if len({*names}) < len(names):
        raise WrongValue("a column of the table is named twice")
    return [name for name in names if name is not None]


def write_csv(header: Sequence[str], lines: Iterable[Iterable[Any]]) -> bytes:
    """A CSV file; floating-point numbers have seven digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[_short(cell) for cell in line] for line in lines])
    return stream.getvalue().encode()


def _short(cell: Any) -> Any:
    return f"{cell:.7g}" if isinstance(cell, float | np.floating) else cell
