"""Tables as text cells with typed columns, from which files and matrices are made."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from models_store.arrays import Array

KEY = "row"
"""Header of the column that joins the rows of several files."""


@dataclass(frozen=True)
class Column:
    """One column.

    Arguments:
        name: Header.
        view: View that the column belongs to.
        labels: Labels of a category, in the order of their codes; () for numbers.
        counts: Whether the numbers are counts.
        file: Stem of the file that holds it.
    """

    name: str
    view: str
    labels: tuple[str, ...] = ()
    counts: bool = False
    file: str = "table"


@dataclass(frozen=True)
class Table:
    """Rows of text cells.

    Arguments:
        columns: The columns.
        cells: Text of each cell, "" where missing: (n, columns).
    """

    columns: tuple[Column, ...]
    cells: Array

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def views(self) -> list[str]:
        """Names of the views in order of first appearance."""
        return list(dict.fromkeys(column.view for column in self.columns))

    @cached_property
    def values(self) -> Array:
        """Numbers and codes of labels, NaN where missing: (n, columns)."""
        parts = [_numbers(cells, column) for cells, column in zip(self.cells.T, self.columns, strict=True)]
        return np.stack(parts, axis=1)

    @property
    def present(self) -> Array:
        """Mask of the cells that are there: (n, columns)."""
        return ~np.isnan(self.values)

    def of(self, view: str) -> Array:
        """Mask of the columns of a view: (columns,)."""
        return np.array([column.view == view for column in self.columns])

    def take(self, rows: Array) -> Table:
        return Table(self.columns, self.cells[rows])

    def without(self, hidden: Array) -> Table:
        """The table with the cells of a mask (n, columns) emptied."""
        return replace(self, cells=np.where(hidden, "", self.cells))

    def write(self, folder: Path, *, sparse: bool = True) -> list[Path]:
        """Writes a CSV file for each ``Column.file``.

        Arguments:
            folder: Folder of the files.
            sparse: Whether each of several files, which ``KEY`` joins, lacks the rows that are empty in it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        stems = list(dict.fromkeys(column.file for column in self.columns))
        return [self._write(folder / f"{stem}.csv", stem, len(stems) > 1, sparse) for stem in stems]

    def _write(self, path: Path, stem: str, keyed: bool, sparse: bool) -> Path:
        here = [index for index, column in enumerate(self.columns) if column.file == stem]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([KEY] * keyed + [self.columns[index].name for index in here])
            for row, cells in enumerate(self.cells[:, here].tolist()):
                if any(cells) or not (keyed and sparse):
                    writer.writerow([f"r{row:05}"] * keyed + cells)
        return path


def from_values(columns: Sequence[Column], values: Array, digits: int = 4) -> Table:
    """The table of numbers and codes, (n, columns); NaN becomes an empty cell."""
    texts = [
        [column.labels[int(x)] if column.labels else f"{x:.{digits}f}".rstrip("0").rstrip(".") for x in line]
        for column, line in zip(columns, np.nan_to_num(values).T, strict=True)
    ]
    cells = np.array(texts, dtype=object).T
    return Table(tuple(columns), np.where(np.isnan(values), "", cells))


def _numbers(cells: Array, column: Column) -> Array:
    codes = {label: float(code) for code, label in enumerate(column.labels)}
    return np.array(
        [np.nan if cell == "" else codes[cell] if codes else float(cell) for cell in cells], float
    )
