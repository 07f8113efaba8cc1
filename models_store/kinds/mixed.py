"""Tables: rows of mixed columns, of numbers, counts and labels, of which any cells may be missing.

A row is an array of float32 in which the cell of a column with labels holds the index of a label.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from models_store.arrays import Array
from models_store.errors import UnreadableFile, WrongValue, shown
from models_store.kinds import arrays, category, table
from models_store.kinds.fields import Column, ModalityFields
from models_store.kinds.vector import VectorKind
from models_store.likelihoods.mixed import CELLS
from models_store.tables.dialect import normal


class TableKind(VectorKind):
    name = "table"
    files = "Cells as JSON or CSV, labels as text"
    mixed = True
    usual_likelihood = "mixed"
    hidden_cells = 0.5

    def suits_array(self, shape: tuple[int, ...], dtype: str, counted: bool) -> bool:
        return False

    def read(self, modality: ModalityFields, content: bytes) -> Array:
        if table.is_json(content):
            value = table.read_json(content)
            one = isinstance(value, dict) or (bool(value) and not isinstance(value[0], list | dict))
            return _rows(modality, [value] if one else value)
        lines = list(table.read_csv(table.as_text(io.BytesIO(content))))
        if not lines:
            raise UnreadableFile("the table is empty")
        header: Sequence[str] = modality.column_names
        if not modality.column_aliases.keys().isdisjoint(map(normal, lines[0])):
            header, *lines = lines
        names = table.names_of(modality, header)
        return _rows(modality, [_from_texts(modality, names, line) for line in lines])

    def read_values(self, modality: ModalityFields, values: list[Any]) -> Array:
        if any(isinstance(value, str) for value in values):
            return super().read_values(modality, values)
        return _rows(modality, values)

    def read_value(self, modality: ModalityFields, value: Any) -> Array:
        """One row, (1, C), from an object or list, from its JSON as text, or from a file in base64."""
        if isinstance(value, str) and table.is_json(value.encode()):
            value = table.read_json(value.encode())
        return super().read_value(modality, value) if isinstance(value, str) else _rows(modality, [value])

    def read_file(self, modality: ModalityFields, content: bytes) -> Array:
        # what `read` returns are indices already, an array holds integers of labels
        if content and not content.startswith(arrays.MAGIC):
            return self.read(modality, content)
        return super().read_file(modality, content)

    def rows(self, modality: ModalityFields, array: Array) -> Array:
        """Checked rows of an array that holds the integers of labels, which become indices."""
        checked = super().rows(modality, array)
        cells = [_cells(column, checked[:, at].tolist()) for at, column in enumerate(modality.columns or ())]
        return np.stack(cells, axis=1).astype(np.float32)

    def plain(self, modality: ModalityFields, row: Array) -> dict[str, Any]:
        """Cells by column, labels as text, None where missing."""
        pairs = zip(modality.columns or (), row, strict=True)
        return {column.name: plain_cell(column, float(value)) for column, value in pairs}

    def write(self, modality: ModalityFields, samples: Array) -> tuple[str, bytes]:
        """A CSV with a line per sample, labels as text."""
        columns = modality.columns or ()
        lines = [[plain_cell(c, float(v)) for c, v in zip(columns, row, strict=True)] for row in samples]
        return ".csv", table.write_csv(modality.column_names, lines)


def index_of_label(column: Column, value: Any) -> float:
    """Index of a label, given as text or as its integer; NaN for None and NaN.

    Raises:
        WrongValue: The value stands for no label of the column.
    """
    if value is None or value != value:
        return math.nan
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return float(category.index_of(value, column.labels or ()))


def checked_numbers(column: Column, numbers: Array) -> Array:
    """Numbers of a column, (n,), of which none is outside what its likelihood allows; NaN is missing.

    Raises:
        WrongValue: A number is outside float32, no count or not above 0.
    """
    family = CELLS[column.likelihood or "normal"]
    some = numbers[~np.isnan(numbers)]
    limits = (
        (np.abs(some) > np.finfo(np.float32).max, "values must be finite numbers within float32"),
        (family.of_counts & ((some < 0) | (some != np.floor(some))), "a count must be a whole number from 0"),
        (family.above_zero & (some <= 0), f"{column.likelihood} needs numbers above 0"),
    )
    for wrong, message in limits:
        if wrong.any():
            raise WrongValue(f"column {shown(column.name)}: {message}, got {shown(some[wrong][0].item())}")
    return numbers


def plain_cell(column: Column, value: float) -> Any:
    """A cell as a value of JSON: text of a label, a number, or None where missing."""
    if math.isnan(value):
        return None
    return column.labels[int(value)] if column.labels else value


def _rows(modality: ModalityFields, values: Sequence[Any]) -> Array:
    """Rows, (n, C), of values by column or in the order of the columns."""
    columns = modality.columns or ()
    lists = [_list(modality, value) for value in values]
    cells = [_cells(column, [one[at] for one in lists]) for at, column in enumerate(columns)]
    return np.stack(cells, axis=1).astype(np.float32)


def _list(modality: ModalityFields, value: Any) -> Sequence[Any]:
    """Cells of one row in the order of the columns."""
    if isinstance(value, Mapping):
        return table.cells_of(modality, value)
    width = len(modality.column_names)
    if not isinstance(value, list) or len(value) != width:
        raise WrongValue(f"a row must be an object by column or a list of {width} cells, got {shown(value)}")
    return value


def _from_texts(modality: ModalityFields, header: Sequence[str], line: Sequence[str]) -> dict[str, Any]:
    """Cells of a line of text by column, None where empty."""
    if len(line) != len(header):
        raise WrongValue(f"a row must have {len(header)} cells, got {len(line)}")
    numeric = {column.name for column in modality.columns or () if not column.labels}
    return {
        name: _located(name, table.number, cell) if name in numeric else cell or None
        for name, cell in zip(header, line, strict=True)
    }


def _located(name: str, read: Callable[[str], float], cell: str) -> float:
    try:
        return read(cell)
    except WrongValue as error:
        raise WrongValue(f"column {shown(name)}: {error}") from None


def _cells(column: Column, values: Sequence[Any]) -> Array:
    """The numbers of a row that stand for values of a column, (n,)."""
    try:
        if column.labels:
            return np.array([index_of_label(column, value) for value in values])
        numbers = [_number(value) for value in values]
    except WrongValue as error:
        raise WrongValue(f"column {shown(column.name)}: {error}") from None
    return checked_numbers(column, np.array(numbers))


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValue(f"must be a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise WrongValue(f"values must be finite numbers within float32, got {shown(value)}") from None
