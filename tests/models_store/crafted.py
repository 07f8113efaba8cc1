"""Picture files, few bytes each, whose decoders allocate or visit more pixels than is plain to see."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def header(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))


def png(width: int, height: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """A black picture of one bit, with chunks before and after its header."""
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height))
    return PNG + before + header(width, height) + after + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def crafted_pngs(width: int, height: int) -> dict[str, bytes]:
    """Pictures of this size, of which the bytes 16 to 24 state 1 × 1."""
    small = struct.pack(">II", 1, 1)
    damaged = struct.pack(">I4s", 3, b"zTXt") + b"abc" + bytes(4)
    return {
        "a text first": png(width, height, before=chunk(b"tEXt", small + b"x\0")),
        "two headers": png(width, height, before=header(1, 1)),
        "two headers around damage": png(width, height, before=header(1, 1) + damaged),
    }


def segment(marker: int, content: bytes) -> bytes:
    return bytes([255, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(width: int, height: int, scans: int, behind: bytes = b"") -> bytes:
    """A grey progressive JPEG of so many scans, all but the first one without data."""
    frame = segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    codes = segment(0xC4, b"\0" + bytes([1] + [0] * 15) + b"\0") + segment(
        0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0"
    )
    blocks = -(-width // 8) * -(-height // 8)
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(-(-blocks // 8))
    further = segment(0xDA, b"\1\1\0\1\x3f\0") * (scans - 1)
    tables = segment(0xDB, b"\0" + b"\1" * 64)
    return b"\xff\xd8" + tables + frame + codes + first + further + behind + b"\xff\xd9"


def tiff(
    width: int, height: int, *entries: tuple[int, int, int, int], strip: bytes, packed: int = 8
) -> bytes:
    """A grey TIFF of one strip or tile, with further entries: tag, type, number of values, and value.

    A value of -1 is the place of the strip or tile.
    """
    usual = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, packed), (262, 3, 1, 1)]
    rows = [*usual, (277, 3, 1, 1), *entries]
    place = 8 + 2 + 12 * len(rows) + 4
    written = (
        struct.pack("<HHII", tag, kind, count, place if value < 0 else value)
        for tag, kind, count, value in rows
    )
    return b"II*\0" + struct.pack("<IH", 8, len(rows)) + b"".join(written) + bytes(4) + strip


def gif(width: int, height: int, screen: int = 1, disposal: int = 0) -> bytes:
    """One frame that is larger than the screen, without its pixels."""
    control = b"!\xf9\4" + bytes([disposal << 2]) + bytes(4)
    frame = b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0"
    return b"GIF89a" + struct.pack("<HH", screen, screen) + bytes(3) + control + frame + b"\2\1\0\0;"


def bmp(width: int, height: int, runs: bytes) -> bytes:
    """A BMP of 8 bits with run lengths."""
    start = 14 + 40 + 4 * 16
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 16, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + head + bytes(4 * 16) + runs


def avif(width: int, height: int, mode: str = "RGB", frames: int = 1, **options: Any) -> bytes:
    """An AVIF of noise."""
    rng = np.random.default_rng(0)
    first, *others = (
        Image.fromarray(rng.integers(0, 255, (height, width, 4), np.uint8)).convert(mode)
        for _ in range(frames)
    )
    animation = {"save_all": True, "append_images": others} if others else {}
    stream = io.BytesIO()
    first.save(stream, "AVIF", speed=10, **animation, **options)
    return stream.getvalue()


def restated(content: bytes, size: tuple[int, int], stated: tuple[int, int]) -> bytes:
    """An AVIF or HEIC whose container states another size than its frames have."""
    changed = content.replace(
        b"ispe\0\0\0\0" + struct.pack(">II", *size), b"ispe\0\0\0\0" + struct.pack(">II", *stated)
    )
    assert changed != content
    return changed
