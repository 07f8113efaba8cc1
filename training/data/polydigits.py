"""Five pictures of one digit on five textures: views `first` to `fifth` (28 x 28 x 3) and `label`.

After PolyMNIST: each view shows another handwritten digit with the row's label, in the inverted colours of a
random part of the view's texture. The views share the digit alone; neither writing nor background of one view
follows from another. Textures are drawn from formulas instead of photographs, and all is the same in every
run. Views are paired by label, anew in every epoch; test rows are paired once.

References:
    | Generalized Multimodal ELBO (Sutter, Daunhawer & Vogt, 2021), section 4.2: PolyMNIST
    | https://arxiv.org/abs/2105.02470
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import KDTree

from models_store.arrays import Array
from training.data import mnist
from training.data.pools import Pools
from training.data.rows import Rows, Splits

SIDE, TEXTURE = 28, 160
"""Pixels on a side of a picture and of a texture."""
TEST_PAIRING = 0


def _grid() -> tuple[Array, Array]:
    rows, columns = np.mgrid[:TEXTURE, :TEXTURE].astype(np.float64)
    return rows, columns


def _stripes(_rng: np.random.Generator) -> Array:
    rows, columns = _grid()
    return 0.5 + 0.5 * np.sin((rows + 0.4 * columns) / 2.5)


def _squares(_rng: np.random.Generator) -> Array:
    rows, columns = _grid()
    return ((rows // 5 + columns // 5) % 2).astype(np.float64)


def _clouds(rng: np.random.Generator) -> Array:
    noise = ndimage.gaussian_filter(rng.standard_normal((TEXTURE, TEXTURE)), 3, mode="wrap")
    return np.argsort(np.argsort(noise, axis=None)).reshape(noise.shape) / noise.size


def _rings(_rng: np.random.Generator) -> Array:
    rows, columns = _grid()
    return 0.5 + 0.5 * np.sin(np.hypot(rows - 20, columns - 30) / 2)


def _cells(rng: np.random.Generator) -> Array:
    """Polygons around random points, each in one level."""
    points, levels = rng.uniform(0, TEXTURE, (400, 2)), rng.random(400)
    _, nearest = KDTree(points).query(np.stack(_grid(), axis=-1))
    cells: Array = levels[nearest]
    return cells


TEXTURES: Mapping[str, tuple[Callable[[np.random.Generator], Array], Array]] = {
    "first": (_stripes, np.array([[0.10, 0.05, 0.30], [0.30, 0.25, 0.00]])),
    "second": (_squares, np.array([[0.85, 0.90, 0.70], [0.70, 0.95, 1.00]])),
    "third": (_clouds, np.array([[0.05, 0.70, 0.10], [0.30, 1.00, 0.35]])),
    "fourth": (_rings, np.array([[0.75, 0.10, 0.20], [1.00, 0.35, 0.00]])),
    "fifth": (_cells, np.array([[0.00, 0.10, 0.70], [0.30, 0.35, 1.00]])),
}
"""By view, a pattern of levels from 0 to 1, and the colours (RGB) of both ends. No channel is near the
middle, so that the inverted colour differs."""

MODALITIES = (
    *(
        mnist.IMAGE.with_changes({"name": name, "shape": (SIDE, SIDE, 3), "background": None})
        for name in TEXTURES
    ),
    mnist.LABEL,
)


def load(folder: Path | None, limit: int | None) -> Splits:
    """Loads the official splits of MNIST and draws the views.

    Arguments:
        folder: Folder of MNIST; None to download it once.
        limit: Number of rows of each split to draw; all take 0.7 GB of memory.

    Raises:
        DataError: A file is missing, damaged, or cannot be fetched.
    """
    digits = mnist.load(folder)
    train, test = (
        _pools(part.head(limit), seed) for seed, part in enumerate((digits.train.in_epoch(0, 0), digits.test))
    )
    return Splits(MODALITIES, train, test.in_epoch(TEST_PAIRING, 0))


def _pools(digits: Rows, seed: int) -> Pools:
    """Pools of the views of a split, whose label is that of the digit."""
    ink, label = digits.data["image"].numpy(), digits.data["label"]
    pools = {
        name: Rows({name: torch.from_numpy(_drawn(ink, name, [seed, view])), "label": label})
        for view, name in enumerate(TEXTURES)
    }
    return Pools("label", next(iter(TEXTURES)), pools, (*TEXTURES, "label"))


def texture(name: str) -> Array:
    """The texture of a view, (TEXTURE, TEXTURE, 3), from 0 to 1; the same in every run."""
    pattern, (low, high) = TEXTURES[name]
    levels = pattern(np.random.default_rng(0))[..., None]
    drawn: Array = low + (high - low) * levels
    return drawn


def _drawn(ink: Array, name: str, seed: list[int]) -> Array:
    """Digits (n, SIDE, SIDE) in inverted colours on parts of a texture: (n, SIDE, SIDE, 3) in uint8."""
    corners = np.random.default_rng(seed).integers(0, TEXTURE - SIDE + 1, (len(ink), 2))
    background = (255 * texture(name)).astype(np.float32)
    pictures = np.empty((*ink.shape, 3), np.uint8)
    for row, (top, left) in enumerate(corners):
        part = background[top : top + SIDE, left : left + SIDE]
        share = ink[row, ..., None] / np.float32(255)
        pictures[row] = np.rint(part + share * (255 - 2 * part))
    return pictures
