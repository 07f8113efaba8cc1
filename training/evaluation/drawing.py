"""Draws rows of modalities, by kind, and figures of many rows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_store.arrays import Array
from models_store.manifest import Modality

Limits: TypeAlias = tuple[float, float]
"""Lowest and highest value."""
DPI = 80
CELL = 0.62
"""Side of one small drawing, in inches."""
STEP = 1.06
"""Distance of the corners of two cells, in sides of a cell."""
LEFT = 1.6
"""Width of the titles, in inches."""


@dataclass(frozen=True)
class Strip:
    """One line of a figure.

    Arguments:
        title: Text to the left.
        modality: Modality of the rows; its kind selects the drawing.
        rows: (columns, *shape); indices of labels for a category.
    """

    title: str
    modality: Modality
    rows: Array


@dataclass(frozen=True)
class Cell:
    """A square of side 1, in which one row is drawn.

    Arguments:
        axes: Axes of the whole figure: the creation of axes for each cell would take most of the time.
        x: Left end.
        y: Lower end.
    """

    axes: Axes
    x: float
    y: float

    def picture(self, array: Array, height: float, width: float, **options: Any) -> None:
        """Draws an array in the middle, with this height and width."""
        left, bottom = self.x + (1 - width) / 2, self.y + (1 - height) / 2
        extent = (left, left + width, bottom, bottom + height)
        self.axes.imshow(array, extent=extent, aspect="auto", **options)

    def line(self, x: Array, y: Array, *style: Any, **options: Any) -> None:
        """Draws a line, or points, given in coordinates of the cell."""
        self.axes.plot(self.x + x, self.y + y, *style, **options)

    def text(self, x: float, text: str, side: str) -> None:
        self.axes.text(self.x + x, self.y + 0.5, text, ha=side, va="center", fontsize=8)


def figure_of(strips: Sequence[Strip]) -> bytes:
    """Returns a PNG with one strip below the other."""
    across = max(len(strip.rows) for strip in strips)
    width, height = (STEP * (count - 1) + 1 for count in (across, len(strips)))
    figure = Figure(figsize=(LEFT + CELL * width, CELL * height), dpi=DPI)
    start = LEFT / (LEFT + CELL * width)
    axes = figure.add_axes((start, 0, 1 - start, 1))
    axes.set_axis_off()
    for number, strip in enumerate(strips):
        limits = (float(np.nanmin(strip.rows)), float(np.nanmax(strip.rows))) if strip.rows.size else (0, 1)
        cells = [Cell(axes, STEP * column, height - 1 - STEP * number) for column in range(across)]
        for cell, row in zip(cells, strip.rows, strict=False):
            draw(cell, strip.modality, row, limits)
        cells[0].text(-0.15, strip.title, "right")
    axes.set(xlim=(0, width), ylim=(0, height))
    return png(figure)


def draw(cell: Cell, modality: Modality, row: Array, limits: Limits) -> None:
    """Draws one row of a modality.

    Arguments:
        cell: Place of the drawing.
        modality: Modality of the row.
        row: Array of shape ``modality.shape``; index of a label for a category.
        limits: The lowest and highest value of the strip, for modalities without a range.
    """
    DRAWINGS.get(modality.kind, _curve)(cell, modality, row, limits)


def ends(modality: Modality, limits: Limits) -> Limits:
    """Returns the modality's range, or else the limits of the strip; the upper end exceeds the lower."""
    return _apart(modality.range or limits)


def _apart(limits: Limits) -> Limits:
    low, high = limits
    return low, high if high > low else low + 1


def _label(cell: Cell, modality: Modality, row: Array, _limits: Limits) -> None:
    cell.text(0.5, (modality.labels or ())[int(row)][:9], "center")


def _picture(cell: Cell, modality: Modality, row: Array, limits: Limits) -> None:
    """Draws pixels, (H, W) or (H, W, C), black at the lower limit."""
    low, high = ends(modality, limits)
    scaled = np.clip((row.astype(np.float32) - low) / (high - low), 0, 1)
    pixels = scaled[..., 0] if scaled.shape[2:] == (1,) else scaled
    height, width = (side / max(pixels.shape[:2]) for side in pixels.shape[:2])
    cell.picture(pixels, height, width, cmap="gray", vmin=0, vmax=1)


def _spectrogram(cell: Cell, modality: Modality, row: Array, limits: Limits) -> None:
    low, high = ends(modality, limits)
    cell.picture(row, 1, 1, cmap="magma", vmin=low, vmax=high, origin="lower")


def _path(cell: Cell, modality: Modality, row: Array, limits: Limits) -> None:
    low, high = ends(modality, limits)
    margin = 0.08 * (high - low)
    x, y = ((row - low + margin) / (high - low + 2 * margin)).T
    cell.line(x, y, color="black", linewidth=1.4)
    cell.line(x[:1], y[:1], ".", color="crimson", markersize=4)


def _curve(cell: Cell, _modality: Modality, row: Array, limits: Limits) -> None:
    low, high = _apart(limits)
    values = (row.reshape(-1) - low) / (high - low)
    x = np.linspace(0, 1, len(values)) if len(values) > 1 else np.array([0.5])
    cell.line(0.05 + 0.9 * x, values, color="steelblue", linewidth=0.8)


def _middle_frame(cell: Cell, modality: Modality, row: Array, limits: Limits) -> None:
    _picture(cell, modality, row[len(row) // 2], limits)


DRAWINGS: Mapping[str, Callable[[Cell, Modality, Array, Limits], None]] = {
    "category": _label,
    "image": _picture,
    "audio": _spectrogram,
    "points": _path,
    "video": _middle_frame,
}
"""Drawings by kind; rows of other kinds are drawn as curves."""


def png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()
