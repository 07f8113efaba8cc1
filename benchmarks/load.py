"""A load generator: persistent connections, each sending its next request after the response to the last."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import uvloop

LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """Requests per second, how many were answered in all, and the median time of one, in seconds."""

    rate: float
    answered: int
    p50: float


def request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Sends the requests in turn for some time, after a warm-up of a fifth of it."""
    return uvloop.run(_drive(port, requests, connections, seconds))


async def _drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    begin = time.perf_counter() + seconds / 5
    end = begin + seconds
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(connections):
        _, client = await loop.create_connection(
            partial(_Client, [*requests[number:], *requests[:number]], begin, end), "127.0.0.1", port
        )
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    times = [seconds for client in clients for seconds in client.times]
    p50 = statistics.median(times) if times else math.inf  # on a busy machine none may fall into the time
    answered = sum(client.answered for client in clients)
    return Load(rate=len(times) / seconds, answered=answered, p50=p50)


class _Client(asyncio.Protocol):
    """One connection; an answer other than 200 ends everything."""

    def __init__(self, requests: Sequence[bytes], begin: float, end: float) -> None:
        self._requests = requests
        self._begin, self._end = begin, end
        self._sent = self._left = self.answered = 0
        self._head = b""
        self._started = 0.0
        self.times: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        if self._left == 0:
            self._head += data
            head, separator, rest = self._head.partition(b"\r\n\r\n")
            if not separator:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self._finish(RuntimeError(self._head.decode(errors="replace")))
                return
            lower = head.lower()
            if b"\r\ntransfer-encoding: chunked" in lower:
                if self._head.endswith(LAST_CHUNK):
                    self._head = b""
                    self._answered()
                return
            length = lower.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            self._head = b""
            self._left = int(length) - len(rest)
        else:
            self._left -= len(data)
        if self._left == 0:
            self._answered()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._finish(error or RuntimeError("the server closed the connection"))

    def _answered(self) -> None:
        now = time.perf_counter()
        self.answered += 1
        if self._begin < now <= self._end:
            self.times.append(now - self._started)
        if now > self._end:
            self._finish(None)
        else:
            self._send()

    def _send(self) -> None:
        self._started = time.perf_counter()
        self._transport.write(self._requests[self._sent % len(self._requests)])
        self._sent += 1

    def _finish(self, error: Exception | None) -> None:
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        self._transport.close()
