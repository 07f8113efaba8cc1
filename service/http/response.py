"""Responses of the endpoint table: media types, their negotiation, and a response as a plain value."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from models_store.errors import listed
from service.errors import NotAcceptable

JSON = "application/json"
NPZ = "application/x-npz"
BYTES = "application/octet-stream"
ZIP = "application/zip"
CSV = "text/csv"
MULTIPART = "multipart/form-data"

Header = tuple[bytes, bytes]
CLOSE: Header = (b"connection", b"close")
"""Makes a client open its next connection, which a load balancer leads to another instance."""


class Reply(NamedTuple):
    """A response with status 200 and its whole body.

    Arguments:
        media: Content type.
        content: Body.
        headers: Further headers, without content type and length.
    """

    media: str
    content: bytes
    headers: tuple[Header, ...] = ()


@lru_cache(maxsize=128)
def negotiate(accept: str | None, offered: tuple[str, ...]) -> str:
    """Choose the offered media type that the client prefers (RFC 9110, section 12.5.1); ties go to the first.

    Raises:
        NotAcceptable: The client accepts none of them.
    """
    ranges = weighted(accept or "*/*")
    quality = {media: _quality(media, ranges) for media in offered}
    best = max(offered, key=lambda media: quality[media])
    if quality[best] <= 0:
        raise NotAcceptable(f"the answer can be {listed(offered)}, Accept asks for '{accept}'")
    return best


def weighted(header: str) -> list[tuple[str, float]]:
    """Returns the items of a header in lower case, each with its weight (RFC 9110, section 12.4.2)."""
    return [_weighted(item) for item in header.lower().split(",") if item.strip()]


def _weighted(item: str) -> tuple[str, float]:
    value, *parameters = (part.strip() for part in item.split(";"))
    for parameter in parameters:
        name, _, weight = parameter.partition("=")
        if name.strip() == "q":
            try:
                return value, min(max(0.0, float(weight)), 1.0)
            except ValueError:
                return value, 0.0
    return value, 1.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Quality of the most specific range that matches; 0 where none does."""
    for pattern in (media, f"{media.partition('/')[0]}/*", "*/*"):
        for accepted, quality in ranges:
            if accepted == pattern:
                return quality
    return 0.0
