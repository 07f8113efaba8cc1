"""Conversions of large pictures tile by tile: besides the picture and its result, little memory is taken.

Transparency: a picture is composited on ``background`` (white where the manifest has none). Where all visible
pixels have one grey, only alpha says what is drawn: alpha is the ink, see :func:`_ink`.
Depth: more than 8 bits are scaled by what the file states, or else by its highest value, see :func:`_scale`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from models_store.errors import UnreadableFile

TILE = 2**18
"""Most pixels of a tile."""
DEPTHS = (1, 255, 1023, 4095, 16_383, 65_535)
"""Highest values of pictures of 1, 8, 10, 12, 14 and 16 bits."""
FLAT = 8
"""Levels by which the visible pixels of one colour may differ, which resizing and rounding cause."""
VISIBLE = 32
"""Least alpha of a visible pixel; below, the colour is mostly rounding."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom."""


def boxes(size: tuple[int, int]) -> Iterator[Box]:
    """Boxes of the tiles of a picture."""
    width, height = size
    across = min(width, TILE)
    down = max(1, TILE // max(1, across))
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield left, top, min(left + across, width), min(top + down, height)


def alike(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures of one size have the same pixels."""
    return all(one.crop(box).tobytes() == other.crop(box).tobytes() for box in boxes(one.size))


def opaque(picture: Image.Image, channels: int, background: int | None) -> Image.Image:
    """Picture without alpha, on the background of the modality.

    Arguments:
        picture: A picture with transparency, of 8 bits.
        channels: Channels of the modality.
        background: Level of the background, from 0 to 255; None: white.
    """
    ends = [np.ravel(_rgba(picture, box).getchannel("A").getextrema()) for box in boxes(picture.size)]
    lowest, highest = np.min(ends), np.max(ends)
    if lowest == 255:
        return picture.convert("RGB")
    if lowest < highest and _is_flat(picture, channels):
        return _ink(picture, background)
    level = 255 if background is None else background
    result = Image.new("RGB", picture.size)
    for box in boxes(picture.size):
        tile = _rgba(picture, box)
        canvas = Image.new("RGBA", tile.size, (level, level, level, 255))
        result.paste(Image.alpha_composite(canvas, tile).convert("RGB"), box)
    return result


def _rgba(picture: Image.Image, box: Box) -> Image.Image:
    return picture.crop(box).convert("RGBA")


def _is_flat(picture: Image.Image, channels: int) -> bool:
    """Whether the visible pixels have one colour, so that alpha alone says what is drawn.

    In a modality with colours, a flat colour that is no grey is drawn on the background.
    """
    lowest, highest, grey = np.full(3, 255), np.zeros(3, int), True
    for box in boxes(picture.size):
        values = np.asarray(_rgba(picture, box))
        visible = values[values[..., 3] >= VISIBLE][:, :3]
        if len(visible):
            lowest = np.minimum(lowest, visible.min(axis=0))
            highest = np.maximum(highest, visible.max(axis=0))
            grey = grey and bool(np.ptp(visible, axis=1).max() <= FLAT)
            if (highest - lowest).max() > FLAT:
                return False
    return bool((highest >= lowest).all()) and (channels == 1 or grey)


def _ink(picture: Image.Image, background: int | None) -> Image.Image:
    """Alpha as grey: from the background to the far end of the scale; light on dark where it is unknown."""
    start = background or 0
    end = 0 if start > 127 else 255
    levels = [round(start + (end - start) * level / 255) for level in range(256)]
    result = Image.new("L", picture.size)
    for box in boxes(picture.size):
        result.paste(_rgba(picture, box).getchannel("A").point(levels), box)
    return result


def eight_bits(picture: Image.Image, maximum: float | None) -> Image.Image:
    """Scale integers of more than 8 bits and floats to 8 bits, which Pillow would clip.

    Arguments:
        picture: A picture of any mode.
        maximum: Value of white that the file states, if it does.

    Raises:
        UnreadableFile: A value is negative, not finite, or beyond 16 bits.
    """
    if picture.mode[0] not in "IF":
        return picture
    ends = [_ends(picture, box) for box in boxes(picture.size)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    finite = all(math.isfinite(low + high) for low, high in ends)
    scale = _scale(low if finite else 0.0, high if finite else math.nan, picture.mode != "F", maximum)
    result = Image.new("L", picture.size)
    for box in boxes(picture.size):
        values = np.asarray(picture.crop(box)).astype(np.float64)
        tile = np.floor(values * 255 / scale + (0 if scale > 255 else 0.5)).astype(np.uint8)
        result.paste(Image.fromarray(tile), box)
    return result


def _ends(picture: Image.Image, box: Box) -> tuple[float, float]:
    values = np.asarray(picture.crop(box))
    return float(values.min()), float(values.max())


def _scale(low: float, high: float, whole: bool, maximum: float | None) -> float:
    """Value of white: stated by the file, or else the highest value of the least depth that holds all.

    Raises:
        UnreadableFile: A value is negative, not finite, or beyond 16 bits.
    """
    if low >= 0 and maximum is not None and high <= maximum:
        return maximum
    depths = DEPTHS if whole else (1, 255, 65_535)
    if low >= 0 and high <= depths[-1]:
        return next(depth for depth in depths if high <= depth)
    kind = "whole numbers" if whole else "floating-point numbers"
    ends = "NaN or infinity" if math.isnan(high) else f"values from {low:g} to {high:g}"
    raise UnreadableFile(
        f"a picture of {kind} must go from 0 to 1, 255 or 65535, this one has {ends}; scale it, or save it "
        "with 8 or 16 bits"
    )
