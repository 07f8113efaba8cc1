"""Points (x, y) in their order: JSON, or CSV with a line per point."""

from __future__ import annotations

import io
from itertools import chain

from models_store.arrays import Array
from models_store.errors import UnreadableFile
from models_store.kinds import arrays, table
from models_store.kinds.base import Kind
from models_store.kinds.fields import ModalityFields


def read(modality: ModalityFields, content: bytes) -> Array:
    """Read rows from a text file.

    Arguments:
        modality: Modality of the rows.
        content: JSON (``[[x, y], …]`` one row, a list of them several), or CSV, which is one row: a line
            per point, with the header ``x,y`` or without one.

    Raises:
        UnreadableFile: The text is neither JSON nor CSV.
        WrongValue: A cell is no number.
    """
    if table.is_json(content):
        return arrays.from_nested(modality, table.read_json(content))
    lines = table.read_csv(table.as_text(io.BytesIO(content)))
    first = next(lines, None)
    if first is None:
        raise UnreadableFile("the table is empty")
    points = lines if first == ["x", "y"] else chain([first], lines)
    return table.numbers(len(first), points)[None]


class PointsKind(Kind):
    name = "points"
    files = "Points as JSON or CSV"
    layout = 1

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 2 and shape[1] == 2

    def suits_array(self, shape: tuple[int, ...], dtype: str, counted: bool) -> bool:
        return self.fits(shape)

    def read(self, modality: ModalityFields, content: bytes) -> Array:
        return read(modality, content)

    def write(self, modality: ModalityFields, samples: Array) -> tuple[str, bytes]:
        """A CSV with a line per point, numbered by sample."""
        numbered = [(draw, *point) for draw, points in enumerate(samples.tolist()) for point in points]
        return ".csv", table.write_csv(["sample", "x", "y"], numbered)
