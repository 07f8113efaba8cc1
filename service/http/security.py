"""Who may ask, and what a browser may do with an answer."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.problems import problem

OPEN = frozenset({"/", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no key: health, and the page, which is the same whatever models there are."""

STATIC = "/page/"
"""Below it lie the files of the page."""

Headers = tuple[tuple[bytes, bytes], ...]


def _headers(policy: str) -> Headers:
    return (
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"content-security-policy", f"{policy}; frame-ancestors 'none'".encode()),
    )


_ANSWER = _headers("default-src 'none'")
_PAGES = {
    "/": _headers(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    ),
    # Swagger UI starts from a script in the page, and sets styles as it goes.
    "/docs": _headers(
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    ),
}


def headers_of(path: str) -> Headers:
    """What a browser is told beside an answer; a page may load what it needs from here, an answer nothing."""
    return _PAGES.get(path, _ANSWER)


class Keys:
    """Lets in whoever has one of the keys, before anything of the body is read.

    The key that came is compared with all of them, by digests of one length, whether there was one or not:
    how long it takes tells nothing.

    Arguments:
        app: What is behind.
        keys: At least one.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self._app = app
        self._salt = secrets.token_bytes(16)
        self._digests = [self._digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = scope["type"] != "http" or self._knows(_bearer(scope["headers"]))
        if known or _is_open(scope):
            scope["state"]["stranger"] = not known
            await self._app(scope, receive, send)
            return
        # The connection ends with the answer: the rest of the body is not waited for.
        headers = {"WWW-Authenticate": 'Bearer realm="anyview"', "Connection": "close"}
        detail = "this service wants a key that it knows: Authorization: Bearer KEY"
        answer = problem(HTTPStatus.UNAUTHORIZED, detail, scope["state"]["request_id"], headers)
        await answer(scope, receive, send)

    def _knows(self, key: bytes) -> bool:
        digest = self._digest(key)
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._salt, digest_size=32).digest()


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(STATIC))


def _bearer(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            return key.strip() if scheme.lower() == b"bearer" else b""
    return b""
