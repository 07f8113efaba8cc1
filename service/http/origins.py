"""Refuses what a page of another site could have a browser send to a service without keys.

Without keys, whoever reaches the port may ask. A browser reaches it for any page that its user looks at: by a
name that is resolved to this machine (DNS rebinding), or by a simple request that needs no permission. A
request for a name that the service does not have is refused, and so is one of another origin that changes
which models are loaded. An address in numbers is no name and cannot be rebound.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from models_store.errors import shown
from service.http.problems import problem

LOOPBACK = "localhost"
ANY = "*"
CHANGES = ("/load", "/unload")
"""Ends of the paths that change what is loaded."""


class Origins:
    """Answers requests for the service's own names, and changes only of its own pages.

    Arguments:
        app: The next layer.
        hosts: Names beside ``localhost``; ``*`` is any name.
        origins: Origins of other sites whose pages may ask.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in hosts)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, detail = refusal
        await problem(status, detail, scope["state"]["request_id"], {"Connection": "close"})(
            scope, receive, send
        )

    def _refusal(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        host, origin = _headers(scope)
        name = host.rpartition(":")[0] if _has_port(host) else host
        if not self._is_own(name):
            return HTTPStatus.MISDIRECTED_REQUEST, (
                f"without keys this service answers for the host names it was given, not for {shown(name)}; "
                f"add it to ANYVIEW_ALLOWED_HOSTS"
            )
        changes = scope["method"] == "POST" and scope["path"].endswith(CHANGES)
        if changes and origin and origin not in self._origins and urlsplit(origin).netloc.lower() != host:
            return HTTPStatus.FORBIDDEN, (
                f"a page of {shown(origin)} may not change which models are loaded; "
                f"set keys, or add it to ANYVIEW_CORS_ORIGINS"
            )
        return None

    def _is_own(self, name: str) -> bool:
        return not name or name == LOOPBACK or bool(self._hosts & {name, ANY}) or _is_address(name)


def _headers(scope: Scope) -> tuple[str, str]:
    """Returns Host and Origin in small letters, empty where they are missing."""
    host = origin = ""
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin1").lower()
        elif name == b"origin":
            origin = value.decode("latin1").lower()
    return host, origin


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdecimal() and not host.endswith("]")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
