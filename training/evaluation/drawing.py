"""Draws rows of modalities, by kind, and figures of many rows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

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


def figure_of(strips: Sequence[Strip]) -> bytes:
    """Returns a PNG with one strip below the other."""
    across = max(len(strip.rows) for strip in strips)
    figure = Figure(figsize=(1.6 + CELL * across, CELL * len(strips)), dpi=DPI)
    grid = figure.subplots(len(strips), across, squeeze=False)
    figure.subplots_adjust(
        left=1.6 / (1.6 + CELL * across), right=1, top=1, bottom=0, wspace=0.06, hspace=0.06
    )
    for strip, line in zip(strips, grid, strict=True):
        limits = (float(np.nanmin(strip.rows)), float(np.nanmax(strip.rows))) if strip.rows.size else (0, 1)
        for axes, row in zip(line, strip.rows, strict=False):
            draw(axes, strip.modality, row, limits)
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
        line[0].text(
            -0.15, 0.5, strip.title, transform=line[0].transAxes, ha="right", va="center", fontsize=8
        )
    return png(figure)


def draw(axes: Axes, modality: Modality, row: Array, limits: Limits) -> None:
    """Draws one row of a modality.

    Arguments:
        axes: Axes to draw on.
        modality: Modality of the row.
        row: Array of shape ``modality.shape``; index of a label for a category.
        limits: The lowest and highest value of the strip, for modalities without a range.
    """
    DRAWINGS.get(modality.kind, _curve)(axes, modality, row, limits)


def ends(modality: Modality, limits: Limits) -> Limits:
    """Returns the modality's range, or else the limits of the strip; the upper end exceeds the lower."""
    low, high = modality.range or limits
    return low, high if high > low else low + 1


def _label(axes: Axes, modality: Modality, row: Array, _limits: Limits) -> None:
    axes.text(0.5, 0.5, (modality.labels or ())[int(row)][:9], ha="center", va="center", fontsize=8)


def picture(axes: Axes, modality: Modality, row: Array, limits: Limits) -> None:
    """Draws pixels, (H, W) or (H, W, C), black at the lower limit."""
    low, high = ends(modality, limits)
    scaled = np.clip((row.astype(np.float32) - low) / (high - low), 0, 1)
    axes.imshow(scaled[..., 0] if scaled.shape[2:] == (1,) else scaled, cmap="gray", vmin=0, vmax=1)


def _spectrogram(axes: Axes, modality: Modality, row: Array, limits: Limits) -> None:
    low, high = ends(modality, limits)
    axes.imshow(row, cmap="magma", vmin=low, vmax=high, origin="lower", aspect="auto")


def _path(axes: Axes, modality: Modality, row: Array, limits: Limits) -> None:
    low, high = ends(modality, limits)
    axes.plot(row[:, 0], row[:, 1], color="black", linewidth=1.4)
    axes.plot(row[:1, 0], row[:1, 1], ".", color="crimson", markersize=4)
    margin = 0.08 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.set_aspect("equal")


def _curve(axes: Axes, _modality: Modality, row: Array, limits: Limits) -> None:
    axes.plot(row.reshape(-1), color="steelblue", linewidth=0.8)
    axes.set_ylim(limits[0], limits[1] if limits[1] > limits[0] else limits[0] + 1)


def _middle_frame(axes: Axes, modality: Modality, row: Array, limits: Limits) -> None:
    picture(axes, modality, row[len(row) // 2], limits)


DRAWINGS: Mapping[str, Callable[[Axes, Modality, Array, Limits], None]] = {
    "category": _label,
    "image": picture,
    "audio": _spectrogram,
    "points": _path,
    "video": _middle_frame,
}
"""Drawings by kind; rows of other kinds are drawn as curves."""


def png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()
