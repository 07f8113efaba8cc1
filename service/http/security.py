"""Admission of requests: by API keys, or without keys by host name and origin.

Without keys, every client that reaches the port may send requests. A browser reaches the port for any page
that its user opens: by a name that resolves to this machine (DNS rebinding), or by a simple request, which
needs no permission. Two kinds of requests are refused: those for a host name that the service does not have,
and those of another origin that change which models are loaded. An IP address cannot be rebound.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Collection, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from models_store.errors import shown
from service.http.forwarded import Proxies
from service.http.problems import problem

OPEN = frozenset({"/", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no key: health, and the page, which shows nothing of the models."""

STATIC = "/page/"
"""Prefix of the files of the page."""

NO_KEY = "this service needs one of its keys: Authorization: Bearer KEY"
LOOPBACK = "localhost"
ANY = "*"
LONGEST_KEPT = 256
"""Longest header Host, in bytes, that is kept read."""
CHANGES = ("/load", "/unload")
"""Ends of the paths that change which models are loaded."""


class KeyDigests:
    """The keys of the service.

    The request's key, even a missing one, is compared with all keys, by digests of one length. So the time
    that it takes does not depend on the key.

    Arguments:
        keys: At least one key.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._salt = secrets.token_bytes(16)
        self._digests = [self._digest(key.encode()) for key in keys]

    def accepts(self, key: bytes) -> bool:
        """Whether a key is one of them."""
        digest = self._digest(key)
        accepted = False
        for expected in self._digests:
            accepted |= hmac.compare_digest(digest, expected)
        return accepted

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._salt, digest_size=32).digest()


class Keys:
    """Admits requests that bring one of the keys, before any of the body is read.

    Arguments:
        app: The next layer.
        keys: At least one key.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self._app = app
        self._accepts = KeyDigests(keys).accepts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorized = scope["type"] != "http" or self._accepts(bearer(scope["state"]["headers"]))
        if authorized or _is_open(scope):
            scope["state"]["stranger"] = not authorized
            await self._app(scope, receive, send)
            return
        # The connection is closed after the response, so that the rest of the body is not read.
        headers = {"WWW-Authenticate": 'Bearer realm="anyview"', "Connection": "close"}
        answer = problem(HTTPStatus.UNAUTHORIZED, NO_KEY, scope["state"]["request_id"], headers)
        await answer(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    path: str = scope["state"]["path"]
    return scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(STATIC))


def bearer(headers: Mapping[bytes, bytes]) -> bytes:
    """Returns the key in the headers of a request, empty without one."""
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


class Origins:
    """Passes requests for the service's host names, and changes that its own pages request.

    Arguments:
        app: The next layer.
        hosts: Host names beside ``localhost``; ``*`` is any name.
        origins: Origins of other sites whose pages may send requests.
        proxies: Reader of the host that a client named to a trusted proxy.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str], origins: Collection[str], proxies: Proxies
    ) -> None:
        self._app = app
        self._proxies = proxies
        self._hosts = frozenset(name.lower() for name in hosts)
        self._origins = frozenset(origins)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            return self._app(scope, receive, send)
        status, detail = refusal
        answer = problem(status, detail, scope["state"]["request_id"], {"Connection": "close"})
        return answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        headers: Mapping[bytes, bytes] = scope["state"]["headers"]
        sent = headers.get(b"host", b"")
        host, name = _host_once(sent) if len(sent) <= LONGEST_KEPT else _host(sent)
        if not self._answers_for(name):
            return HTTPStatus.MISDIRECTED_REQUEST, (
                f"without keys this service answers for the host names it was given, not for {shown(name)}; "
                f"add it to ANYVIEW_ALLOWED_HOSTS"
            )
        changes = scope["method"] == "POST" and scope["path"].endswith(CHANGES)
        origin = headers.get(b"origin", b"").decode("latin1").lower() if changes else ""
        if origin and origin not in self._origins and not self._is_own(origin, host, scope):
            return HTTPStatus.FORBIDDEN, (
                f"a page of {shown(origin)} may not change which models are loaded; "
                f"set keys, or add it to ANYVIEW_CORS_ORIGINS"
            )
        return None

    def _is_own(self, origin: str, host: str, scope: Scope) -> bool:
        """Whether an origin is the service itself, under its own host or that of a trusted proxy."""
        site = urlsplit(origin).netloc.lower()
        return site == host or (bool(site) and site == self._proxies.host(scope))

    def _answers_for(self, name: str) -> bool:
        return not name or name == LOOPBACK or name in self._hosts or ANY in self._hosts or _is_address(name)


def _host(sent: bytes) -> tuple[str, str]:
    """Returns the header Host, and the name in it without the port."""
    host = sent.decode("latin1").lower()
    return host, host.rpartition(":")[0] if _has_port(host) else host


_host_once = lru_cache(maxsize=256)(_host)


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdecimal() and not host.endswith("]")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
