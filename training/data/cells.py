"""Cells of a table's columns as numbers, checked; the cells of columns with labels as indices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from models_store.arrays import Array
from models_store.errors import WrongValue
from models_store.kinds.fields import Column
from models_store.kinds.mixed import index_of_label
from models_store.likelihoods.mixed import CELLS
from training.tables.files import numbers, texts


def checked_numbers(cells: Any, field: str, whole: bool, above: str | None = None) -> Array:
    """Numbers of a column, (n,), NaN where missing.

    Arguments:
        cells: Cells of a block of the file.
        field: Name of the column, for messages.
        whole: Whether they must be whole numbers from 0.
        above: Name of the likelihood whose numbers must be above 0; None where any are right.

    Raises:
        ValueError: A cell is no number, or not such a one.
    """
    try:
        values = numbers(cells)
    except ValueError as error:
        raise ValueError(f"column '{field}': {error}") from None
    with np.errstate(invalid="ignore", over="ignore"):
        wrong = np.isinf(values.astype(np.float32))
        if whole:
            wrong |= (values < 0) | (values != np.floor(values)) & ~np.isnan(values)
    if wrong.any():
        must = "counts must be whole numbers from 0" if whole else "numbers must be finite within float32"
        raise ValueError(f"column '{field}': {must}, got {values[wrong][0]}")
    if above is not None and (values <= 0).any():
        raise ValueError(f"column '{field}': {above} needs numbers above 0, got {np.nanmin(values)}")
    return values


def mixed_cells(cells: Any, field: str, column: Column) -> Array:
    """Numbers of a column of a ``table``, (n,), or indices of its labels; NaN where missing.

    Raises:
        ValueError: A cell does not fit the column.
    """
    if not column.labels:
        family = CELLS[column.likelihood or "normal"]
        above = column.likelihood if family.above_zero else None
        return checked_numbers(cells, field, family.of_counts, above)
    written = texts(cells)
    indices: dict[str | None, float] = {None: math.nan}
    for label in set(written) - {None}:
        try:
            indices[label] = index_of_label(column, label)
        except WrongValue:
            raise ValueError(f"column '{field}' has '{label}', which is none of its labels") from None
    return np.array([indices[label] for label in written], np.float64)
