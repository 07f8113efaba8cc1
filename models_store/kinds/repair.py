"""Pictures whose pixels are whole although the file is damaged around them: PNG and JPEG."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from models_store.kinds import tiles

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
END_OF_IMAGE = b"\xff\xd9"
NEEDED = (b"tRNS", b"eXIf")
"""Ancillary chunks of a PNG that change the picture: transparency and orientation."""
ORIENTING = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""Keywords of texts that may state the orientation."""
FILLER = bytes((37 * step + 11) % 251 for step in range(251))
"""Bytes without a marker, which decode to anything but the end of a scan."""


def repaired(content: bytes) -> bytes | None:
    """The file without damaged or oversized metadata, or with its end; None if neither can be the fault.

    Raises:
        Exception: A JPEG cannot be decoded; Pillow raises exceptions of any type.
    """
    if content.startswith(PNG):
        return bare_png(content)
    if content.startswith(JPEG) and not content.endswith(END_OF_IMAGE):
        return _ended_jpeg(content.rstrip(b"\xff"))
    return None


def bare_png(content: bytes) -> bytes:
    """Critical chunks as they are, and the ancillary chunks that matter if their checksums are right."""
    kept, start = [PNG], len(PNG)
    while start + 8 <= len(content):
        length, name = struct.unpack(">I4s", content[start : start + 8])
        chunk = content[start : start + 12 + length]
        critical = not name[0] & 32
        data, checksum = chunk[4:-4], chunk[-4:]
        orienting = name in (b"iTXt", b"zTXt", b"tEXt") and data[4:].startswith(ORIENTING)
        if critical or ((name in NEEDED or orienting) and zlib.crc32(data).to_bytes(4) == checksum):
            kept.append(chunk)
        start += 12 + length
    return b"".join(kept)


def _ended_jpeg(content: bytes) -> bytes | None:
    """The file with its end marker; None if pixels are missing.

    Bytes after the last block do not change the picture. Where blocks are missing, they would become blocks.
    """
    ended = content + END_OF_IMAGE
    with (
        Image.open(io.BytesIO(ended), formats=("JPEG",)) as picture,
        Image.open(io.BytesIO(content + FILLER + END_OF_IMAGE), formats=("JPEG",)) as filled,
    ):
        return ended if tiles.alike(picture, filled) else None
