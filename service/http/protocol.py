"""How answers reach the network: what one turn of the event loop writes, goes out at its end.

uvicorn writes the head of an answer and its body in two system calls, each of which wakes the client. And
clients whose answers were computed together are best woken together: they ask again together.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES = 2**16
"""What is longer does not wait for the end of the turn."""


class Turn:
    """What is written within one turn of an event loop.

    Arguments:
        loop: Whose turns these are.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writing: list[Together] = []

    def add(self, transport: Together) -> None:
        """Has a transport written out at the end of the turn."""
        if not self._writing:
            self._loop.call_soon(self._end)
        self._writing.append(transport)

    def _end(self) -> None:
        writing, self._writing = self._writing, []
        for transport in writing:
            transport.flush()


class Together:
    """A transport that writes at the end of a turn; in all else the one that it was made of.

    Arguments:
        transport: Where it writes.
        turn: Of the event loop.
    """

    def __init__(self, transport: asyncio.Transport, turn: Turn) -> None:
        self._transport = transport
        self._turn = turn
        self._waiting = b""
        self.is_closing = transport.is_closing  # is asked of every answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if len(data) > MOST_BYTES:
            self.flush()
            self._transport.write(data)
            return
        if not self._waiting:
            self._turn.add(self)
        self._waiting += data
        if len(self._waiting) > MOST_BYTES:
            self.flush()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, b""
        if waiting and not self._transport.is_closing():
            self._transport.write(waiting)


class Protocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, over such a transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Together(transport, _turn_of(self.loop)))  # type: ignore[arg-type]


@lru_cache(maxsize=1)  # a process serves with one
def _turn_of(loop: asyncio.AbstractEventLoop) -> Turn:
    return Turn(loop)
