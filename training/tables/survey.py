"""What the fields of files hold, found out in one pass over them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models_store.arrays import Array
from training.tables.files import Block, File, numbers, texts

MOST_LABELS = 100
"""Text with more different values than this is no category."""


@dataclass
class Field:
    """One field, and what was seen of it.

    Arguments:
        file: That holds it.
        name: Its header.
        shape: Of one row.
        labels: The different values, as text; None where there are too many.
        pattern: The same for fields that are missing in the same rows.
    """

    file: File
    name: str
    shape: tuple[int, ...]
    rows: int = 0
    present: int = 0
    zeros: int = 0
    numeric: bool = True
    whole: bool = True
    steps: bool = True
    low: float = np.inf
    high: float = -np.inf
    labels: set[str] | None = field(default_factory=set)
    pattern: int = 0
    example: str | None = None

    @property
    def missing(self) -> float:
        """The share of rows without a value."""
        return 1 - self.present / max(self.rows, 1)

    def see(self, values: Any) -> None:
        """Takes account of a block of values."""
        cells = values if isinstance(values, np.ndarray) else self._single(values)
        if cells is None:
            return
        finite = cells[np.isfinite(cells)]
        if not isinstance(values, np.ndarray):
            self._see_missing(~np.isnan(cells))
            self.steps &= bool((np.diff(finite) == 1).all()) and len(finite) == len(cells)
        else:
            self.rows, self.present = self.rows + len(values), self.present + len(values)
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
            self.zeros += int((finite == 0).sum())
            self.whole &= bool((finite == np.floor(finite)).all())
            self.labels = self.labels if self.whole else None

    def _single(self, values: Any) -> Array | None:
        """Numbers, NaN where missing; None where they are text. Either way, labels are collected."""
        cells = None
        if self.numeric:
            try:
                cells = numbers(values)
            except ValueError:
                self.numeric = self.whole = False
        if cells is None or (self.labels is not None and self.whole):
            cell_texts = texts(values)
            self._see_labels(cell_texts)
            if cells is None:
                self._see_missing(np.array([text is not None for text in cell_texts], bool))
        return cells

    def _see_labels(self, cell_texts: list[str | None]) -> None:
        if self.example is None:
            self.example = next((text for text in cell_texts if text is not None), None)
        if self.labels is not None:
            self.labels |= {text for text in cell_texts if text is not None}
            if len(self.labels) > MOST_LABELS:
                self.labels = None

    def _see_missing(self, present: Array) -> None:
        self.rows, self.present = self.rows + len(present), self.present + int(present.sum())
        self.pattern = zlib.crc32(present.tobytes(), self.pattern)


def look(file: File) -> list[Field]:
    """All fields of a file, looked at from the first row to the last."""
    fields = [Field(file, name, shape) for name, shape in file.shapes.items()]
    block: Block
    for block in file.blocks(list(file.shapes)):
        for one in fields:
            one.see(block[one.name])
    return fields
