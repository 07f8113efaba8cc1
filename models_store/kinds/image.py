"""Pictures: turned upright, converted and resized to the manifest's shape; and PNG out."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from models_store.arrays import Array
from models_store.errors import UnreadableFile
from models_store.kinds import levels
from models_store.kinds.base import MediaKind
from models_store.kinds.fields import ModalityFields

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 50_000_000
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode by number of channels."""

# read() refuses large pictures by their header; Pillow's limit would only warn.
Image.MAX_IMAGE_PIXELS = None


def read(modality: ModalityFields, content: bytes) -> Array:
    """Read one row, of the modality's shape and dtype, from a picture file.

    Raises:
        UnreadableFile: The file has another format, is damaged, or is too large.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise UnreadableFile(
                    f"a picture may have {MAX_PIXELS} pixels, this one has {width} × {height}"
                )
            upright = _eight_bits(ImageOps.exif_transpose(picture))
            fitted = upright.convert(MODES[_channels(modality)])
    except UnreadableFile:
        raise
    except Exception as error:  # Pillow's parsers raise exceptions of any type on damaged files
        raise UnreadableFile(
            f"no readable picture ({', '.join(FORMATS)}) in {len(content)} bytes that begin with "
            f"{content[:8]!r}: {_one_line(error)}"
        ) from None
    rows, columns = modality.shape[:2]
    if fitted.size != (columns, rows):
        fitted = fitted.resize((columns, rows), Image.Resampling.LANCZOS)
    return levels.to_units(modality, np.asarray(fitted, np.uint8).reshape(modality.shape))


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


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Convert 16-bit grey to 8 bits by division, since Pillow clips; and palettes to colours."""
    if picture.mode == "P" and "transparency" in picture.info:
        return picture.convert("RGBA")
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.clip(np.asarray(picture), 0, 65535) // 257).astype(np.uint8))


def _one_line(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    # Pillow's text names the memory object that it reads
    return "not recognised" if "cannot identify" in text else text[:120]


class ImageKind(MediaKind):
    name = "image"
    files = "A picture (PNG, JPEG, …), turned upright, converted and resized"
    media = "image/png"
    suffix = ".png"
    noun = "shows one image"
    default_network = "conv"
    suffixes = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
    layout = 2

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 2 or (len(shape) == 3 and shape[2] in MODES)

    def suits_array(self, shape: tuple[int, ...], dtype: str, counted: bool) -> bool:
        return self.fits(shape) and shape[1:] != (2,) and dtype == "uint8"

    def read(self, modality: ModalityFields, content: bytes) -> Array:
        return read(modality, content)[None]

    def write_row(self, modality: ModalityFields, row: Array, rng: np.random.Generator) -> bytes:
        return write_png(modality, row)

    def write_grid(self, modality: ModalityFields, samples: Array) -> bytes:
        return write_png_grid(modality, samples)
