"""API keys, and the headers that limit what a browser does with a response."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.problems import problem

OPEN = frozenset({"/", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no key: health, and the page, which shows nothing of the models."""

STATIC = "/page/"
"""Prefix of the files of the page."""

Headers = tuple[tuple[bytes, bytes], ...]


def _headers(policy: str) -> Headers:
    return (
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"content-security-policy", f"{policy}; frame-ancestors 'none'".encode()),
    )


_DEFAULT = _headers("default-src 'none'")
_PAGES = {
    "/": _headers(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    ),
    # Swagger UI starts from an inline script and sets inline styles.
    "/docs": _headers(
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    ),
}


def headers_of(path: str) -> Headers:
    """Returns the security headers of a path: a page may load files of this service, other responses none."""
    return _PAGES.get(path, _DEFAULT)


class Keys:
    """Admits requests that bring one of the keys, before any of the body is read.

    The request's key, even a missing one, is compared with all keys, by digests of one length. So the time
    that it takes does not depend on the key.

    Arguments:
        app: The next layer.
        keys: At least one key.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self._app = app
        self._salt = secrets.token_bytes(16)
        self._digests = [self._digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorized = scope["type"] != "http" or self._accepts(_bearer(scope["headers"]))
        if authorized or _is_open(scope):
            scope["state"]["stranger"] = not authorized
            await self._app(scope, receive, send)
            return
        # The connection is closed after the response, so that the rest of the body is not read.
        headers = {"WWW-Authenticate": 'Bearer realm="anyview"', "Connection": "close"}
        detail = "this service needs one of its keys: Authorization: Bearer KEY"
        answer = problem(HTTPStatus.UNAUTHORIZED, detail, scope["state"]["request_id"], headers)
        await answer(scope, receive, send)

    def _accepts(self, key: bytes) -> bool:
        digest = self._digest(key)
        accepted = False
        for expected in self._digests:
            accepted |= hmac.compare_digest(digest, expected)
        return accepted

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._salt, digest_size=32).digest()


def _is_open(scope: Scope) -> bool:
    path: str = scope["state"]["path"]
    return scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(STATIC))


def _bearer(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            return key.strip() if scheme.lower() == b"bearer" else b""
    return b""
