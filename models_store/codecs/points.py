"""Points (x, y) in their order: JSON, or CSV with a line per point."""

from __future__ import annotations

from typing import Any

import numpy as np

from models_store.codecs import arrays, table
from models_store.errors import UnreadableFile
from models_store.manifest import Modality

Array = np.ndarray[Any, np.dtype[Any]]


def read(modality: Modality, content: bytes) -> Array:
    """Rows from the bytes of a text.

    Arguments:
        modality: Points.
        content: JSON (``[[x, y], …]`` one row, a list of them several), or CSV, which is one row: a line
            per point, with the header ``x,y`` or without one.

    Raises:
        UnreadableFile: It is neither.
        WrongValue: A cell is no number, or there are more or fewer points than there should be.
    """
    if table.is_json(content):
        return arrays.from_nested(modality, table.read_json(content))
    lines = table.read_csv(content)
    if lines and lines[0] == ["x", "y"]:
        lines = lines[1:]
    if not lines:
        raise UnreadableFile("the table is empty")
    return arrays.rows(modality, np.array([[table.number(cell) for cell in line] for line in lines])[None])
