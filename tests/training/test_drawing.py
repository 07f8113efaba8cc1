"""The drawings of a model card show the rows, each in its own place."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from models_store.arrays import Array
from models_store.manifest import Modality
from tests.service.kinds import described
from training.evaluation.drawing import CELL, DPI, LEFT, STEP, Strip, figure_of

MODALITIES = described().modalities


def rows(modality: Modality, count: int) -> Array:
    rng = np.random.default_rng(0)
    if modality.labels is not None:
        return rng.integers(0, len(modality.labels), count)
    low, high = modality.range or (0, 1)
    return low + (high - low) * rng.random((count, *modality.shape))


def cell(content: bytes, column: int, line: int) -> Array:
    """Grey levels of a cell."""
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    top, left = (round(DPI * (start + CELL * STEP * n)) for start, n in ((0, line), (LEFT, column)))
    side = round(DPI * CELL)
    return pixels[top : top + side, left : left + side]


def test_pixels_lie_as_in_the_row() -> None:
    (image,) = (modality for modality in MODALITIES if modality.kind == "image")
    black = np.zeros((2, *image.shape))
    black[1, image.shape[0] // 2 :] = 255  # the lower half of the second picture is white
    content = figure_of([Strip("above", image, black[:1]), Strip("below", image, black)])
    drawn = cell(content, 1, 1)
    middle = drawn.shape[1] // 2
    assert drawn[5, middle] == 0
    assert drawn[-5, middle] == 255
    assert (cell(content, 1, 0) == 255).all()  # the first line has one picture alone
    assert cell(content, 0, 0)[5, middle] == 0


def test_every_kind_leaves_a_drawing_in_every_cell() -> None:
    strips = [Strip(modality.name, modality, rows(modality, 3)) for modality in MODALITIES]
    content = figure_of(strips)
    assert all(cell(content, column, line).min() < 200 for column in range(3) for line in range(len(strips)))
