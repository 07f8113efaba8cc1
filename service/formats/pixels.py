"""Bounds the pictures and sounds that one request may make the service decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models_store.errors import UnreadableFile
from models_store.kinds import arrays
from models_store.kinds.base import Kind, from_base64
from models_store.kinds.decoding import LOCKING_WEIGHT, MAX_PIXELS, PYTHON_WEIGHT
from service.engine.budget import Allowance, Costly
from service.engine.rules import Rules
from service.errors import TooLarge

BYTES_OF_PIXEL = 9
"""Memory of one pixel while its picture is decoded and converted, in bytes."""
LOOP_PIXELS = 50_000
"""Pixels that are decoded on the event loop: some 1 ms."""
RIFF = b"RIFF"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR"
"""Begin of a PNG whose first chunk states its size, as it must."""
PNG_HEAD = 33
"""Bytes up to the end of that chunk."""
LOOP_CHUNKS = 16
"""Most further chunks of a PNG that is decoded on the event loop."""
PLAIN_CHUNKS = frozenset(
    {b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs", b"tIME", b"tEXt", b"IDAT"}
)
"""Chunks that neither change the size nor are unpacked, but for the pixels."""


def check(
    rules: Rules, files: Mapping[str, Sequence[bytes | str]], allowance: Allowance | None = None
) -> None:
    """Refuse pictures of too many pixels by their headers, before any of them is decoded.

    Arguments:
        rules: Rules of the model.
        files: Files, or their base64, by modality.
        allowance: Memory for this work in a thread; None on the event loop.

    Raises:
        Costly: Decoding takes too long for the event loop.
        WrongInput: A modality is unknown.
        TooLarge: The pictures of the request take more than ``MAX_PIXELS`` pixels.
    """
    on_loop = allowance is None
    media = [
        (traits, file)
        for name, contents in files.items()
        for file in contents
        if not (on_loop and file[: len(arrays.MAGIC)] == arrays.MAGIC)  # as most are; nothing is decoded
        and (traits := rules.modality(name).traits) is not None
        and name in rules.media
    ]
    if not media:
        return
    if allowance is None:
        if sum(_pixels_on_loop(file) for _, file in media) > min(LOOP_PIXELS, MAX_PIXELS):
            raise Costly
        return
    allowance.take(BYTES_OF_PIXEL * min(_counted(allowance, media), MAX_PIXELS))


def _pixels_on_loop(file: bytes | str) -> int:
    """Pixels of a PNG, bytes of a WAV; more than the loop may decode for every other file."""
    try:
        content = from_base64(file) if isinstance(file, str) else file
    except UnreadableFile:
        return 0  # the reader gives the reason
    if content.startswith(arrays.MAGIC):  # of base64
        return 0
    if content.startswith(RIFF) and content[8:12] == b"WAVE":
        return len(content)
    if content.startswith(PNG) and _is_plain(content):
        width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
        return width * height
    return LOOP_PIXELS + 1


def _is_plain(content: bytes) -> bool:
    """Whether a PNG has only few chunks, whose work is that of the size it states first."""
    start = PNG_HEAD
    for _ in range(LOOP_CHUNKS):
        name = content[start + 4 : start + 8]
        if name in (b"IEND", b""):
            return True
        if name not in PLAIN_CHUNKS:
            return False
        start += 12 + int.from_bytes(content[start : start + 4], "big")
    return False


def _counted(allowance: Allowance, media: Sequence[tuple[Kind, bytes | str]]) -> int:
    pictures = [(traits, file) for traits, file in media if traits.pictures]
    total = 0
    for number, (traits, file) in enumerate(pictures, 1):
        allowance.check()
        try:
            content = from_base64(file) if isinstance(file, str) else file
        except UnreadableFile:
            continue  # the reader gives the reason
        work = traits.work(content)
        total += work.weight * work.pixels
        if total > MAX_PIXELS and (len(pictures) > 1 or work.weight > 1):
            raise TooLarge(
                f"the pictures of one request may have {MAX_PIXELS} pixels, the first {number} of "
                f"{len(pictures)} have {total}; send smaller pictures, or fewer, or save them as PNG. "
                f"Pixels of WebP, AVIF and HEIC count {LOCKING_WEIGHT} times; those of plain PPM, of PPM "
                f"with an unusual maximum and of BMP with run lengths, {PYTHON_WEIGHT} times per channel"
            )
    return total
