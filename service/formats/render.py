"""An answer to the media type that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson
from starlette.types import Send

from models_store.errors import listed
from service.errors import NotAcceptable
from service.formats import npz

JSON = "application/json"
NPZ = "application/x-npz"
BYTES = "application/octet-stream"
ZIP = "application/zip"
CSV = "text/csv"

Answer = Mapping[str, Any]
"""A tree of mappings, arrays, lists, strings and numbers."""


Header = tuple[bytes, bytes]
CLOSE: Header = (b"connection", b"close")
"""The client comes again, to somebody who stays."""


class Reply(NamedTuple):
    """What a question is answered with.

    Arguments:
        media: The content type.
        content: The body.
        headers: Beside the content type.
    """

    media: str
    content: bytes
    headers: tuple[Header, ...] = ()

    def with_headers(self, *more: Header) -> Reply:
        return self._replace(headers=(*self.headers, *more))

    async def send(self, send: Send) -> None:
        headers = [
            (b"content-type", self.media.encode()),
            (b"content-length", b"%d" % len(self.content)),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.content})


@lru_cache(maxsize=128)
def negotiate(accept: str | None, offered: tuple[str, ...]) -> str:
    """The offered media type that the client prefers (RFC 9110, section 12.5.1); ties go to the first.

    Raises:
        NotAcceptable: It takes none of them.
    """
    ranges = [_media_range(item) for item in (accept or "*/*").split(",") if item.strip()]
    quality = {media: _quality(media, ranges) for media in offered}
    best = max(offered, key=lambda media: quality[media])
    if quality[best] <= 0:
        raise NotAcceptable(f"the answer can be {listed(offered)}, Accept asks for '{accept}'")
    return best


def reply(media: str, answer: Answer) -> Reply:
    """The whole answer as JSON or npz."""
    return Reply(media, _to_npz(answer) if media == NPZ else _to_json(answer))


def file(media: str, content: bytes, seed: int) -> Reply:
    """An answer that has no place for the seed it came from; the header ``X-Seed`` has."""
    media = f"{media}; charset=utf-8" if media == CSV else media
    return Reply(media, content, ((b"x-seed", str(seed).encode()),))


def _to_json(answer: Answer) -> bytes:
    # What is not finite becomes null.
    return orjson.dumps(answer, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # of strings, or not contiguous
        return value.tolist() if value.dtype.kind == "U" else np.ascontiguousarray(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _to_npz(answer: Answer) -> bytes:
    return npz.archive(_leaves(answer))


def _leaves(answer: Answer, path: str = "") -> list[tuple[str, Any]]:
    """The same tree, its branches joined by dots."""
    leaves: list[tuple[str, Any]] = []
    for key, value in answer.items():
        if isinstance(value, Mapping):
            leaves += _leaves(value, f"{path}{key}.")
        elif value is not None:
            leaves.append((f"{path}{key}", np.asarray(value)))
    return leaves


def _media_range(item: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media, 0.0
    return media, 1.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """That of the most specific range that matches."""
    kind = media.partition("/")[0]
    for pattern in (media, f"{kind}/*", "*/*"):
        for wanted, quality in ranges:
            if wanted == pattern:
                return quality
    return 0.0
