"""Points (x, y) in their order: JSON, or CSV with a line per point."""

from __future__ import annotations

import io
from itertools import chain
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
    lines = table.read_csv(table.as_text(io.BytesIO(content)))
    first = next(lines, None)
    if first is None:
        raise UnreadableFile("the table is empty")
    points = lines if first == ["x", "y"] else chain([first], lines)
    return arrays.rows(modality, table.numbers(len(first), points)[None])
