"""Pictures: turned upright, converted and resized to the manifest's shape; and PNG out."""

from __future__ import annotations

import io
import math
import threading
from contextlib import nullcontext

import numpy as np
from PIL import Image, ImageOps

from models_store.arrays import Array
from models_store.errors import UnreadableFile, first_line
from models_store.kinds import decoding, heif, levels, repair, tiles
from models_store.kinds.base import MediaKind, Work
from models_store.kinds.decoding import LOCKING_FORMATS
from models_store.kinds.fields import ModalityFields

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", *heif.FORMATS)
MAXIMUM_TAGS = (341, 281)
"""SMaxSampleValue and MaxSampleValue of a TIFF."""
NEAR, MOSTLY = 16, 0.75
"""Levels by which a border may differ from the background, and the share of borders that do not."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode by number of channels."""
_ONE_AT_A_TIME = threading.Lock()  # between two such pictures other threads run


def read(modality: ModalityFields, content: bytes) -> Array:
    """Read one row, of the modality's shape and dtype, from a picture file.

    Raises:
        UnreadableFile: The file has another format, is damaged, or is too large.
    """
    fitted = _read(modality, content)
    rows, columns = modality.shape[:2]
    if fitted.size != (columns, rows):
        fitted = fitted.resize((columns, rows), Image.Resampling.LANCZOS)
    return levels.to_units(modality, np.asarray(fitted, np.uint8).reshape(modality.shape))


def is_transparent(content: bytes) -> bool:
    """Whether a readable picture has pixels that are not opaque."""
    try:
        with decoding.opened(content, FORMATS) as picture:
            decoding.work(picture, content)
            if not picture.has_transparency_data:
                return False
            return bool(np.asarray(picture.convert("RGBA").getchannel("A")).min() < 255)
    except Exception:  # Pillow's parsers raise exceptions of any type on damaged files
        return False


def background_of(pixels: Array) -> int | None:
    """Level that the borders of most of some pictures have in all channels; None where they differ.

    Arguments:
        pixels: The pictures, (n, H, W) or (n, H, W, C), in levels from 0 to 255.
    """
    sides = (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1])
    flat = [side.reshape(len(pixels), -1) for side in sides]
    border = np.concatenate(flat, axis=1)
    if not border.size:
        return None
    level = float(np.median(border))
    alike = (np.abs(border - level) <= NEAR).mean(axis=1) >= MOSTLY
    return round(level) if alike.mean() >= MOSTLY else None


def work(content: bytes) -> Work:
    """Work of decoding a picture, of which nothing is decoded; 0 if it is refused before it is decoded."""
    bare = repair.bare_png(content) if content.startswith(repair.PNG) else None
    for candidate in (content, bare):
        try:
            with decoding.opened(candidate or b"", FORMATS) as picture:
                return decoding.work(picture, candidate or b"")
        except UnreadableFile:
            return Work()
        except Exception as error:  # Pillow's parsers raise exceptions of any type on damaged files
            del error
    return Work()


def _read(modality: ModalityFields, content: bytes) -> Image.Image:
    """Upright picture of 8 bits with the channels of the modality."""
    try:
        return _decode(modality, content)
    except UnreadableFile:
        raise
    except Exception as error:  # Pillow's parsers raise exceptions of any type on damaged files
        reason = _reason(content, error)  # the error refers to this frame, and thus to the content
    try:
        repaired = repair.repaired(content)
        if repaired is not None:
            return _decode(modality, repaired)
    except UnreadableFile:
        raise
    except Exception as error:  # the first error names the cause
        del error
    raise UnreadableFile(
        f"no readable picture ({', '.join(FORMATS)}) in {len(content)} bytes that begin with "
        f"{content[:8]!r}: {reason}"
    )


def _decode(modality: ModalityFields, content: bytes) -> Image.Image:
    with decoding.opened(content, FORMATS) as picture:
        decoding.work(picture, content)
        maximum = _stated_maximum(picture)
        with _ONE_AT_A_TIME if picture.format in LOCKING_FORMATS else nullcontext():
            picture.load()
        if picture.info or picture.format != "PNG":  # a PNG keeps its EXIF there, and has seldom any
            ImageOps.exif_transpose(picture, in_place=True)
        upright = tiles.eight_bits(picture, maximum)
        channels = _channels(modality)
        if channels != 4 and upright.has_transparency_data:
            upright = tiles.opaque(upright, channels, modality.background)
        return upright.convert(MODES[channels])


def write_png(modality: ModalityFields, values: Array) -> bytes:
    """Write a PNG of one row, of any dtype."""
    return _png(levels.to_bytes(modality, values))


def write_png_grid(modality: ModalityFields, values: Array) -> bytes:
    """Write a PNG of (n, N, *shape): n rows of N pictures, side by side."""
    pixels = levels.to_bytes(modality, values)
    n, across, height, width = pixels.shape[:4]
    rest = pixels.shape[4:]
    joined = pixels.swapaxes(1, 2).reshape(n * height, across * width, *rest)
    return _png(joined)


def _png(pixels: Array) -> bytes:
    squeezed = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    stream = io.BytesIO()
    Image.fromarray(squeezed).save(stream, "PNG")
    return stream.getvalue()


def _channels(modality: ModalityFields) -> int:
    return modality.shape[2] if len(modality.shape) == 3 else 1


def _stated_maximum(picture: Image.Image) -> float | None:
    """Highest value that a TIFF states."""
    tags = getattr(picture, "tag_v2", {})
    stated = next((tags[tag] for tag in MAXIMUM_TAGS if tag in tags), None)
    value = stated[0] if isinstance(stated, tuple) and stated else stated
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None


def _reason(content: bytes, error: Exception) -> str:
    if heif.is_unread(content):
        return f"it is a HEIC picture; {heif.REMEDY}"
    text = first_line(error)
    # Pillow's text names the memory object that it reads
    return "not recognised" if "cannot identify" in text else text


class ImageKind(MediaKind):
    name = "image"
    files = "A picture (PNG, JPEG, …), turned upright, converted and resized"
    media = "image/png"
    suffix = ".png"
    noun = "shows one image"
    default_network = "conv"
    suffixes = (
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
        *heif.SUFFIXES,
    )
    layout = 2
    pictures = True
    grids = True

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 2 or (len(shape) == 3 and shape[2] in MODES)

    def suits_array(self, shape: tuple[int, ...], dtype: str, counted: bool) -> bool:
        return self.fits(shape) and shape[1:] != (2,) and dtype == "uint8"

    def work(self, content: bytes) -> Work:
        return work(content)

    def read(self, modality: ModalityFields, content: bytes) -> Array:
        return read(modality, content)[None]

    def write_row(self, modality: ModalityFields, row: Array, rng: np.random.Generator) -> bytes:
        return write_png(modality, row)

    def write_grid(self, modality: ModalityFields, samples: Array) -> bytes:
        return write_png_grid(modality, samples)
