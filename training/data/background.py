"""Backgrounds of training pictures, on which transparent pictures are drawn in training and in requests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from models_store import kinds
from models_store.arrays import Array
from models_store.errors import InputRefused
from models_store.kinds import levels
from models_store.kinds.image import background_of, is_transparent
from models_store.manifest import Modality
from models_store.regular import read_regular
from training.tables.files import File, texts

LOOKED_AT = 200
"""Pictures whose borders are looked at, ..."""
LOOKED_FOR = 10_000
"""... of the first so many that a column names."""


def with_background(modality: Modality, pixels: Array) -> Modality:
    """The modality with the background of some opaque pictures, where most have one.

    Arguments:
        modality: A modality of pictures.
        pixels: Pictures in levels from 0 to 255, (n, *shape).
    """
    background = background_of(pixels) if len(pixels) else None
    return modality if background is None else modality.with_changes({"background": background})


def opaque_levels(modality: Modality, file: File, field: str) -> Array:
    """Pictures without transparency among the first files that a column names, in levels, (n, *shape)."""
    rows = list(islice(_opaque(modality, file, field), LOOKED_AT))
    empty = np.zeros((0, *modality.shape), np.uint8)
    return np.concatenate([empty, *(levels.to_bytes(modality, row) for row in rows)])


def _opaque(modality: Modality, file: File, field: str) -> Iterator[Array]:
    cells = (cell for block in file.blocks([field]) for cell in texts(block[field]))
    for place in islice((file.path.parent / cell for cell in cells if cell), LOOKED_FOR):
        try:
            content = read_regular(place)
            if not is_transparent(content):
                yield kinds.read_file(modality, content)
        except (InputRefused, OSError):  # a missing entry
            continue
