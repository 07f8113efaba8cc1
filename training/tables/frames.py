"""Columns of data frames and arrays as columns of Arrow, each read as a CSV of the same values would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute


def check_names(frame: Any) -> None:
    """Refuses a data frame with two columns of one name.

    Raises:
        ValueError: There are two.
    """
    times = Counter(frame.column_names if hasattr(frame, "column_names") else frame.columns)
    if twice := next((name for name, count in times.items() if count > 1), None):
        raise ValueError(f"X has the column '{twice}' more than once; give each column a name of its own")


def table_of(frame: Any, names: Sequence[str]) -> pa.Table:
    """The rows of a data frame of pandas or of Arrow's interface (polars), without its index.

    Arguments:
        frame: The data frame.
        names: Names of its columns.

    Raises:
        ValueError: A column holds what cannot be read; the text names it.
    """
    if hasattr(frame, "iloc"):
        columns = [frame.iloc[:, at] for at in range(len(names))]
    else:
        columns = pa.table(frame).columns
    return pa.table(
        [arrow_column(name, values) for name, values in zip(names, columns, strict=True)], list(names)
    )


def arrow_column(name: str, values: Any) -> Any:
    """A column; objects of several types, and types of pandas alone (periods), become text.

    Raises:
        ValueError: It holds neither numbers, text, truth values nor times, or an infinity.
    """
    values = values.sparse.to_dense() if hasattr(values, "sparse") else values
    try:
        cells = values if isinstance(values, pa.ChunkedArray) else pa.array(values, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        if values.dtype != object:
            raise ValueError(
                f"column '{name}' holds {values.dtype}; convert it to numbers, text, truth values or "
                "times, or leave it out"
            ) from None
        return _texts(values)
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    if isinstance(kind, pa.BaseExtensionType):
        return _texts(values)
    _check_finite(name, cells)
    return cells


def _texts(values: Any) -> pa.Array:
    """Cells as text, None where one is None, NaN, NaT or pandas.NA."""
    cells = list(values)
    return pa.array([None if _is_missing(cell) else str(cell) for cell in cells], pa.string())


def _is_missing(cell: Any) -> bool:
    if isinstance(cell, float | np.floating):
        return bool(np.isnan(cell))
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")


def _check_finite(name: str, cells: Any) -> None:
    if not pa.types.is_floating(cells.type):
        return
    infinite = compute.is_inf(cells.cast(pa.float64()))
    if compute.any(infinite).as_py():
        row = compute.index(infinite, True).as_py()
        raise ValueError(
            f"column '{name}' has an infinity in row {row} (counted from 0); write NaN "
            "where a value is missing"
        )
