"""Opens pictures, and counts the work of decoding them before a pixel is decoded.

The decoder of a small picture may allocate and visit far more pixels than the file states: in tiles, frames
and scans. Decoding is one step of Pillow, which cannot be interrupted; its work is counted before it begins.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping

from PIL import Image

from models_store.errors import UnreadableFile
from models_store.kinds import avif, jpeg, tiff
from models_store.kinds.base import Work

MAX_PIXELS = 50_000_000
"""Pixels of one picture, and of all pictures of one request."""
MAX_READS = 200_000
"""Pieces of a file, such as chunks, that Pillow's parsers in Python read; each takes some 5 µs."""
MAX_COMMENTS = 100
"""Comments in the pixels of a plain PPM: Pillow copies a megabyte for each."""
LOCKING_FORMATS = ("WEBP", "AVIF", "HEIF")
"""Their decoders in Pillow hold the interpreter's lock."""
LOCKING_WEIGHT = 5
"""A pixel of such a picture counts as so many, which leaves some 0.2 s for the largest."""
PYTHON_DECODERS = ("ppm_plain", "ppm", "bmp_rle")
"""Decoders of Pillow in Python: of plain PPM, of PPM with an unusual maximum, and of BMP with run lengths."""
PYTHON_WEIGHT, BITMAP_WEIGHT = 50, 2
"""As how many pixels a value of such a picture counts, which leaves some 1 s for the largest; a bit."""
BMP_HEAD = 2**16
"""Bytes of headers, colours and padding of a BMP."""
CAUSES = {
    "JPEG": "many scans",
    "MPO": "many scans",
    "TIFF": "tiles larger than the picture, or many scans",
    "AVIF": "frames larger than the picture, or many of them",
}
"""Reasons why decoding takes more pixels than a picture has, by format."""

# Pillow raises errors above twice this limit where a format allocates before it is opened, and warns below.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # those are refused here


class _CountedReads(io.BytesIO):
    """A file of which so many pieces can be read."""

    def __init__(self, content: bytes, limit: int) -> None:
        super().__init__(content)
        self._limit, self._number = limit, 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._number += 1
        if self._number > self._limit:
            raise UnreadableFile(
                f"a picture may be read in {self._limit} steps, such as chunks or comments, this one needs "
                "more; save it again without metadata, or as PNG"
            )
        return super().read(size)


def opened(content: bytes, formats: tuple[str, ...], max_reads: int = MAX_READS) -> Image.Image:
    """Picture of a file whose pixels are not decoded yet.

    Raises:
        UnreadableFile: It has too many pixels or pieces.
        Exception: It is damaged; Pillow's parsers raise exceptions of any type.
    """
    if content[:2] in (b"II", b"MM"):
        tiff.check(content)
    try:
        picture = Image.open(_CountedReads(content, max_reads), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = re.search(r"\d+", str(error))
        number = size.group() if size else "more"
        raise UnreadableFile(f"a picture may have {MAX_PIXELS} pixels, this one has {number}") from None
    if _decoder(picture) in PYTHON_DECODERS:
        return Image.open(io.BytesIO(content), formats=formats)  # they read each pixel: see _weight()
    return picture


def work(picture: Image.Image, content: bytes) -> Work:
    """Pixels that decoding an open picture allocates or visits.

    Raises:
        UnreadableFile: They are more than ``MAX_PIXELS``, or cannot be counted.
    """
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise UnreadableFile(f"a picture may have {MAX_PIXELS} pixels, this one has {width * height}")
    file_format = picture.format or ""
    count = COUNTS[file_format](picture, content) if file_format in COUNTS else width * height
    if count > MAX_PIXELS:
        raise UnreadableFile(
            f"decoding a picture may take {MAX_PIXELS} pixels, this {file_format} of {width} × {height} "
            f"takes {count}: it has {CAUSES[file_format]}; save it as PNG"
        )
    return Work(count, _weight(picture, content))


def _of_jpeg(picture: Image.Image, content: bytes) -> int:
    return picture.width * picture.height * jpeg.weight(jpeg.scans(content))


def _of_avif(picture: Image.Image, content: bytes) -> int:
    try:
        frames = avif.pixels(content)
    except ValueError as error:
        raise UnreadableFile(f"the frames of an AVIF cannot be counted: {error}; save it as PNG") from None
    return max(picture.width * picture.height, frames)


COUNTS: Mapping[str, Callable[[Image.Image, bytes], int]] = {
    "JPEG": _of_jpeg,
    "MPO": _of_jpeg,
    "TIFF": tiff.pixels,
    "AVIF": _of_avif,
}
"""Pixels by format, where they may be more than the picture has."""


def _decoder(picture: Image.Image) -> str:
    """Name of Pillow's decoder; empty where a plugin decodes by itself."""
    tiles = getattr(picture, "tile", [])
    return str(tiles[0][0]) if tiles else ""


def _weight(picture: Image.Image, content: bytes) -> int:
    """As how many each pixel counts in a request."""
    if picture.format in LOCKING_FORMATS:
        return LOCKING_WEIGHT
    decoder = _decoder(picture)
    if decoder not in PYTHON_DECODERS:
        return 1
    if decoder == "ppm_plain" and content.count(b"#") > MAX_COMMENTS:
        raise UnreadableFile(
            f"a plain PPM may have {MAX_COMMENTS} comments, this one has more; save it as PNG"
        )
    # a run of one pixel and the end of a row have two bytes each, so that others are steps without pixels
    if decoder == "bmp_rle" and len(content) > 4 * picture.width * picture.height + BMP_HEAD:
        raise UnreadableFile("a BMP may not have more run lengths than pixels, this one has; save it as PNG")
    return BITMAP_WEIGHT if picture.mode == "1" else PYTHON_WEIGHT * len(picture.getbands())
