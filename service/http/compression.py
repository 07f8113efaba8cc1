"""Compressed responses: gzip, deflate and zstd, as ``Accept-Encoding`` prefers (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache

import zstandard
from starlette.datastructures import MutableHeaders
from starlette.types import Message

from service.engine.workers import aside
from service.http.response import weighted

WORTH_ENCODING = 1024
"""Bytes; a shorter response is sent as it is."""
COMPRESSIBLE = (
    b"text/",
    b"application/json",
    b"application/problem+json",
    b"application/octet-stream",
    b"image/svg",
)
"""Beginnings of media types that are compressed: text, and tensors of the Open Inference Protocol.

Pictures, sounds and archives are sent as they are."""
VARY = (b"vary", b"Accept-Encoding")


def _deflated(content: bytes, window: int) -> bytes:
    compressor = zlib.compressobj(level=1, wbits=window)
    return compressor.compress(content) + compressor.flush()


_ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "zstd": lambda content: zstandard.ZstdCompressor(level=1).compress(content),
    "gzip": lambda content: _deflated(content, zlib.MAX_WBITS | 16),
    "deflate": lambda content: _deflated(content, zlib.MAX_WBITS),
}
"""Codings, the fastest first: it is taken where the client prefers none of them."""


def encoded(content: bytes, accepted: str | None) -> tuple[bytes, str] | None:
    """Compresses a response in the coding that the client prefers.

    Arguments:
        content: Body of the response.
        accepted: Value of the request's ``Accept-Encoding``.

    Returns:
        The compressed body and the coding's name, or None where the response is sent as it is.
    """
    coding = preferred(accepted) if accepted and len(content) >= WORTH_ENCODING else None
    if coding is None:
        return None
    compressed = _ENCODERS[coding](content)
    return (compressed, coding) if len(compressed) < len(content) else None


@lru_cache(maxsize=128)
def preferred(accepted: str) -> str | None:
    """Returns the coding with the highest weight; None where that is ``identity`` or no known coding."""
    weights: dict[str, float] = {}
    for name, weight in weighted(accepted):
        weights.setdefault(name.removeprefix("x-") if name == "x-gzip" else name, weight)
    others = weights.get("*", 0.0)
    best = max(_ENCODERS, key=lambda name: weights.get(name, others))
    weight = weights.get(best, others)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def acceptable(sent: Mapping[bytes, bytes], start: Message, body: Message) -> str | None:
    """Returns the codings that a client accepts of a response; None where it is sent as it is.

    The response says that it depends on them. A body that is sent in several messages is sent as it is.

    Arguments:
        sent: Headers of the request.
        start: ASGI message with the headers, a list.
        body: ASGI message with the body.
    """
    fields = dict(start["headers"])
    is_compressible = fields.get(b"content-type", b"").startswith(COMPRESSIBLE)
    if body.get("more_body") or b"content-encoding" in fields or not is_compressible:
        return None
    if b"vary" in fields:
        MutableHeaders(raw=start["headers"]).add_vary_header("Accept-Encoding")
    else:
        start["headers"].append(VARY)
    accepted = sent.get(b"accept-encoding")
    return None if accepted is None else str(accepted, "latin1")


async def compressed(accepted: str, start: Message, body: Message) -> Message:
    """Returns the body in a coding that the client accepts, and changes the headers of its response.

    Arguments:
        accepted: Codings that the client accepts.
        start: ASGI message with the headers, a list.
        body: ASGI message with the body.
    """
    content = body["body"]
    headers = MutableHeaders(raw=start["headers"])
    compression = await aside(len(content), encoded, content, accepted)
    if compression is not None:
        content, headers["content-encoding"] = compression
        headers["content-length"] = str(len(content))
        if (tag := headers.get("etag", "")).startswith('"'):  # a strong tag is for one sequence of bytes
            headers["etag"] = f"W/{tag}"
    return {**body, "body": content}
