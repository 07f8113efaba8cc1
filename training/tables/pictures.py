"""Arrays that are pictures though their values are not bytes, and the range of their values."""

from __future__ import annotations

import re

import numpy as np

from models_store.kinds import KINDS
from models_store.kinds.image import ImageKind
from models_store.kinds.tiles import DEPTHS
from training.tables.survey import Field

SHORTEST_SIDE = 8
"""Pixels of the shorter side of a picture; smaller arrays are tables."""
MOST_STRETCHED = 4
"""Ratio of the sides of an array without a telling name up to which it is a picture, not a time series."""
FEW_LEVELS = 16
"""Pictures whose highest value is at most this are masks or few levels, not pictures up to a power of 2."""
_NAME = re.compile(r"(^|[^a-z])(images?|imgs?|pictures?|photos?|pixels?|masks?|scans?|slices?)([^a-z]|$)")


def is_picture(field: Field, dtype: str) -> bool:
    """Whether an array of integers or floats holds pictures: by its shape and by its name or its values.

    By their values, whole numbers from 0 to 65535 and floats from 0 to 1 or 255 are.

    Arguments:
        field: The array, with rows (H, W) or (H, W, C).
        dtype: Dtype of the array.
    """
    sides = field.shape[:2]
    if not KINDS[ImageKind.name].fits(field.shape) or min(sides) < SHORTEST_SIDE:
        return False
    if _NAME.search(field.name.lower()):
        return bool(np.isfinite([field.low, field.high]).all())
    channels = len(field.shape) == 3
    integers = np.dtype(dtype).kind in "biu"
    bounded = field.low >= 0 and field.high <= (DEPTHS[-1] if integers else 255)
    levels = integers or field.high <= 1 or field.high > FEW_LEVELS
    return bounded and levels and (channels or max(sides) <= MOST_STRETCHED * min(sides))


def range_of(field: Field, dtype: str) -> list[float]:
    """Lowest and highest value of pictures, by their dtype and their values."""
    if field.low < 0:
        return [-1.0, 1.0] if field.low >= -1 and field.high <= 1 else [field.low, field.high]
    if field.whole and field.high <= FEW_LEVELS:
        return [0.0, field.high or 1.0]
    if dtype == "uint8":
        return [0.0, 255.0]
    depths = DEPTHS if field.whole else (1, 255)
    return [0.0, float(next((depth for depth in depths if field.high <= depth), field.high))]


def remarks_on_shape(field: Field) -> list[str]:
    """A sentence on rows that look like pictures with their channels first, (C, H, W)."""
    channels, *sides = field.shape
    if len(sides) != 2 or channels not in (1, 3, 4) or min(sides) < SHORTEST_SIDE or sides[1] in (1, 3, 4):
        return []
    shape = ", ".join(map(str, (*sides, channels)))
    return [f"'{field.name}' has rows of the shape {field.shape}; save pictures as (rows, {shape})"]
