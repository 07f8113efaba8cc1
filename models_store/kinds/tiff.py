"""Strips and tiles of a TIFF: they are decoded whole, also where the picture is smaller."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

from models_store.errors import UnreadableFile
from models_store.kinds import jpeg

BYTES, TEXT, UNDEFINED = 1, 2, 7
"""Types of values that are read at once, however many there are."""
COMPRESSION, TILE_WIDTH, TILE_LENGTH = 259, 322, 323
LAYOUT = frozenset(
    {256, 257, 258, COMPRESSION, 262, 273, 277, 278, 279, 284}
    | {TILE_WIDTH, TILE_LENGTH, 324, 325, 338, 339, 347, 530}
)
"""Tags by which libtiff allocates and decodes; Pillow reads them by itself."""
PLACES = ((273, 279), (324, 325))
"""Tags of the starts and lengths of strips, and of tiles."""
JPEG_CODED = (6, 7)
MAX_PARTS = 2**16
"""Strips or tiles of a picture, each of which is an object in Pillow."""
STANDARD_TAGS = 2**15
"""Tags from here on are private; Pillow does not read their values."""


def check(content: bytes) -> None:
    """Refuse files whose strips take too long to list, or which Pillow and libtiff may read differently.

    Raises:
        UnreadableFile: It is such a file.
    """
    if content[:4] == b"MM\0+":
        raise UnreadableFile("a BigTIFF must be little-endian, this one is big-endian; save it as PNG")
    entries = [*_entries(content)]
    counts = Counter(tag for tag, _, _ in entries if tag in LAYOUT)
    repeated = [tag for tag, count in counts.items() if count > 1]
    if repeated:
        raise UnreadableFile(
            f"a TIFF may state each tag once, this one repeats {repeated[0]}; save it as PNG"
        )
    for tag, kind, count in entries:
        if tag < STANDARD_TAGS and kind not in (BYTES, TEXT, UNDEFINED) and count > MAX_PARTS:
            raise UnreadableFile(
                f"a TIFF may have {MAX_PARTS} strips or tiles, this one has {count} values of tag {tag}; "
                "save it as PNG"
            )


def _entries(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields the tag, the type and the number of values of each entry of the first directory."""
    order = ">" if content[:2] == b"MM" else "<"
    place, head, entry = ("8xQ", "Q", "HHQ8x") if content[2:3] == b"+" else ("4xI", "H", "HHI4x")
    try:
        (start,) = struct.unpack_from(order + place, content)
        (count,) = struct.unpack_from(order + head, content, start)
        start += struct.calcsize(order + head)
        size = struct.calcsize(order + entry)
        for index in range(min(count, (len(content) - start) // size)):
            tag, kind, values = struct.unpack_from(order + entry, content, start + index * size)
            yield tag, kind, values
    except struct.error:  # Pillow gives the reason
        return


def pixels(picture: Image.Image, content: bytes) -> int:
    """Pixels of the picture, or of a tile if that is larger; those of many scans of JPEG count several times.

    Raises:
        UnreadableFile: Pillow and libtiff may read the size of the tiles differently.
    """
    tags: Mapping[int, Any] = getattr(picture, "tag_v2", {})
    for tag in LAYOUT & {tag for tag, _, _ in _entries(content)}:
        if tag not in tags or (tag in (TILE_WIDTH, TILE_LENGTH) and not isinstance(tags[tag], int)):
            raise UnreadableFile(f"the value of tag {tag} of a TIFF cannot be read; save it as PNG")
    size = max(picture.width * picture.height, tags.get(TILE_WIDTH, 0) * tags.get(TILE_LENGTH, 0))
    if tags.get(COMPRESSION) in JPEG_CODED:
        size *= jpeg.weight(_scans(tags, content))
    return size


def _scans(tags: Mapping[int, Any], content: bytes) -> int:
    """Most scans of a strip or tile that JPEG codes; libtiff itself refuses more than 100."""
    starts, lengths = next((tags[start], tags.get(length, ())) for start, length in PLACES if start in tags)
    if len(starts) != len(lengths) or not all(lengths) or sum(lengths) > len(content):
        return content.count(jpeg.START_OF_SCAN)
    parts = zip(starts, lengths, strict=True)
    return max(content.count(jpeg.START_OF_SCAN, start, start + length) for start, length in parts)
