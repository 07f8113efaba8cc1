"""Refuses requests that a page of another site could make a browser send to a service without keys.

Without keys, every client that reaches the port may send requests. A browser reaches the port for any page
that its user opens: by a name that resolves to this machine (DNS rebinding), or by a simple request, which
needs no permission. Two kinds of requests are refused: those for a host name that the service does not have,
and those of another origin that change which models are loaded. An IP address cannot be rebound.
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
"""Ends of the paths that change which models are loaded."""


class Origins:
    """Passes requests for the service's host names, and changes that its own pages request.

    Arguments:
        app: The next layer.
        hosts: Host names beside ``localhost``; ``*`` is any name.
        origins: Origins of other sites whose pages may send requests.
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
        if not self._answers_for(name):
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

    def _answers_for(self, name: str) -> bool:
        return not name or name == LOOPBACK or bool(self._hosts & {name, ANY}) or _is_address(name)


def _headers(scope: Scope) -> tuple[str, str]:
    """Returns Host and Origin in lower case, empty where they are missing."""
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
