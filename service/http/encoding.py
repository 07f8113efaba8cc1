"""Content codings (RFC 9110, section 8.4.1) of requests: gzip, deflate and zstd."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable

import zstandard

from models_store.errors import shown
from service.errors import TooLarge, UnknownCoding, Unparsable

CODINGS = ("gzip", "deflate", "zstd")
IDENTITY = ("", "identity")
MAX_CODINGS = 4
"""Codings that one body may have on top of each other."""
GZIP_MAGIC = b"\x1f\x8b\x08"
"""Begin of a member of a gzip file."""
PIECE = 4096
"""Bytes of zstd that are decoded at a time: 32 bytes may become 1 MiB."""
MAX_MEMBERS = 10_000
"""Members of a gzip file: the time of each does not depend on its size."""


def decoded(body: bytes, header: str | None, limit: int) -> bytes:
    """Removes the codings that ``Content-Encoding`` names, the last one first.

    Arguments:
        body: Body of the request.
        header: Value of the header; names have no case, ``x-gzip`` is gzip.
        limit: Largest size of the decoded body, in bytes. Decoding stops there.

    Raises:
        UnknownCoding: A coding is none of gzip, deflate and zstd.
        Unparsable: The body is not what the header says, or ends too early.
        TooLarge: Decoded, the body is longer than the limit.
    """
    names = [name for part in (header or "").lower().split(",") if (name := part.strip()) not in IDENTITY]
    if len(names) > MAX_CODINGS:
        raise UnknownCoding(f"a body may have {MAX_CODINGS} codings at most, got {len(names)}", CODINGS)
    for name in reversed(names):
        name = name.removeprefix("x-") if name == "x-gzip" else name
        if name not in _DECODERS:
            raise UnknownCoding(
                f"Content-Encoding must be 'gzip', 'deflate' or 'zstd', got {shown(name)}", CODINGS
            )
        body = _DECODERS[name](body, limit)
        if len(body) > limit:
            raise TooLarge(
                f"the body is longer than the {limit} bytes that one request may have decompressed"
            )
    return body


def _inflated(body: bytes, limit: int, name: str, window: int) -> bytes:
    decompressor = zlib.decompressobj(window)
    try:
        content = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise Unparsable(f"the body is not {name}: {error}") from None
    if len(content) <= limit and not decompressor.eof:
        raise Unparsable(f"the body is {name} that ends too early")
    return content


def _gunzipped(body: bytes, limit: int) -> bytes:
    """Decodes every member of a gzip file."""
    if (members := body.count(GZIP_MAGIC)) > MAX_MEMBERS:
        raise Unparsable(f"a gzip body may have {MAX_MEMBERS} members at most, got up to {members}")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
            content = stream.read(limit + 1)
    except EOFError:
        raise Unparsable("the body is gzip that ends too early") from None
    except (OSError, zlib.error) as error:
        raise Unparsable(f"the body is not gzip: {error}") from None
    if not body:
        raise Unparsable("the body is gzip that ends too early")
    return content


def _deflated(body: bytes, limit: int) -> bytes:
    """Decodes a zlib stream, or the raw deflate stream that some clients send for it."""
    # RFC 1950: the first two bytes of a zlib stream are a multiple of 31, and name method 8.
    is_zlib = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return _inflated(body, limit, "deflate", zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def _unzstd(body: bytes, limit: int) -> bytes:
    # The window is bounded, so that a header alone cannot have gigabytes allocated.
    decompressor = zstandard.ZstdDecompressor(max_window_size=2**27)
    try:
        with decompressor.stream_reader(body) as stream:
            content: bytes = stream.read(limit + 1)
        if len(content) <= limit and not _is_whole(body, len(content)):
            raise Unparsable("the body is zstd that ends too early")
    except zstandard.ZstdError as error:
        raise Unparsable(f"the body is not zstd: {error}") from None
    return content


def _is_whole(body: bytes, size: int) -> bool:
    """Whether a body is one zstd frame to its end, which the reader does not tell.

    Arguments:
        body: Body of the request.
        size: Its decoded size. A second pass decodes piece by piece, so that it holds no second copy.
    """
    whole = zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()
    for start in range(0, len(body), PIECE):
        if whole.eof:
            return False
        size -= len(whole.decompress(body[start : start + PIECE]))
    return whole.eof and not whole.unused_data and size == 0


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzipped,
    "deflate": _deflated,
    "zstd": _unzstd,
}
