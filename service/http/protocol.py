"""HTTP/1.1 connections: uvicorn's protocol, and the limits on requests before the application sees them."""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, but it ignores an offer of another protocol (RFC 9110, section 7.8).

    Clients offer HTTP/2 with the header ``Upgrade: h2c``. The parser stops after such a head and does not
    read the body. This class parses the head again without the header, and then the body.
    """

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stop:
                if not self._should_upgrade():  # CONNECT
                    return
                end_of_head: int = stop.args[0]
                data = self._head_without_offer() + data[end_of_head:]
            except httptools.HttpParserError:
                message = "Invalid HTTP request received."
                self.logger.warning(message)
                self.send_400_response(message)
                return

    def _should_upgrade(self) -> bool:
        """Whether the head offers another protocol; then uvicorn's callbacks leave the request alone."""
        return any(name == b"upgrade" for name, _ in self.headers)

    def _head_without_offer(self) -> bytes:
        version = self.scope["http_version"].encode()
        lines = [b"%b %b HTTP/%b" % (self.scope["method"].encode(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])
