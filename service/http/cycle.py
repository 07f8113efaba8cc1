"""A request and its response as uvicorn keeps them, with a shorter way for the usual response."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

PRINTABLE = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""Bytes that a header may hold."""


class Cycle(RequestResponseCycle):
    """Writes the head of the response to a POST whose length is known in one step.

    uvicorn examines each header by two regular expressions, of which a response here has ten. All other
    responses, and those that a header would damage, are left to it.
    """

    async def send(self, message: Any) -> None:
        if self.response_started or not self._begin(message):
            await super().send(message)

    def _begin(self, message: Any) -> bool:
        """Writes the head of a usual response; returns whether this is one."""
        usual = (
            self.scope["method"] == "POST" and self.keep_alive and message["type"] == "http.response.start"
        )
        if not usual or self.flow.write_paused or self.disconnected:
            return False
        headers = [*self.default_headers, *message.get("headers", ())]
        fields = dict(headers)
        length = fields.get(b"content-length")
        if length is None or b"connection" in fields or b"transfer-encoding" in fields:
            return False
        lines = [b"%b: %b\r\n" % header for header in headers]
        head = b"".join((STATUS_LINE[message["status"]], *lines, b"\r\n"))
        if head.translate(None, PRINTABLE) != b"\r\n" * (len(lines) + 2):
            return False
        self.transport.write(head)
        self.response_started, self.waiting_for_100_continue = True, False
        self.expected_content_length, self.chunked_encoding = int(length), False
        return True
