"""Headers of proxies: the prefix and the host under which clients reach the service.

Only headers of trusted proxies count. Those of any other client would put any name into a response.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.types import Scope

PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
FORWARDED_HOST = re.compile(r'(?:^|[;,\s])host="?([^";,\s]+)"?', re.IGNORECASE)
"""The parameter ``host`` of the header Forwarded (RFC 7239)."""


class Proxies:
    """Reads the headers of proxies at trusted addresses.

    Arguments:
        trusted: IP addresses and networks, such as ``10.0.0.0/8``; ``*`` is any address.

    Raises:
        ValueError: An address is neither.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        names = [*trusted]
        self._any = "*" in names
        networks = tuple(ipaddress.ip_network(name, strict=False) for name in names if name != "*")

        def trusts(host: str) -> bool:
            try:
                address = ipaddress.ip_address(host)
            except ValueError:
                return False
            return any(address in network for network in networks)

        self._trusts = lru_cache(maxsize=256)(trusts)

    def prefix(self, scope: Scope) -> str:
        """Returns the path under which clients reach the service: ``root_path``, or that of the proxy."""
        root: str = scope.get("root_path", "")
        sent = self._header(scope, "x-forwarded-prefix").rstrip("/")
        return root or (sent if PREFIX.fullmatch(sent) else "")

    def host(self, scope: Scope) -> str:
        """Returns the host, in lower case, that the client named to the nearest proxy; empty if unknown."""
        hosts = self._header(scope, "x-forwarded-host").split(",")
        forwarded = FORWARDED_HOST.findall(self._header(scope, "forwarded"))
        return (hosts[-1].strip() or (forwarded[-1] if forwarded else "")).lower()

    def _header(self, scope: Scope, name: str) -> str:
        client = scope.get("client")
        # Without an address the client came through a socket of this machine.
        if not (self._any or client is None or self._trusts(client[0])):
            return ""
        return Headers(scope=scope).get(name, "")
