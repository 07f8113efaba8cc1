"""Counts the requests that a server loses at SIGTERM: clients with kept connections send until it is gone."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

from benchmarks.servers import Server

SECONDS_BEFORE = 1.0
"""Load before the signal."""


def count(server: Server, request: bytes, connections: int) -> Counter[str]:
    """Sends SIGTERM under load; counts requests that were answered, and those lost after they were sent.

    A request that cannot be sent, since the server does not accept the connection any more, is not lost: a
    load balancer sends it elsewhere.

    Arguments:
        server: Server, which is stopped.
        request: Bytes of the request.
        connections: Number of clients.
    """
    return asyncio.run(_count(server, request, connections))


async def _count(server: Server, request: bytes, connections: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    clients = [asyncio.create_task(_client(server.port, request, counts)) for _ in range(connections)]
    await asyncio.sleep(SECONDS_BEFORE)
    server.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*clients)
    return counts


async def _client(port: int, request: bytes, counts: Counter[str]) -> None:
    """Sends a request after each answer, and connects again where the server closed the connection."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        try:
            while await _answered(reader, writer, request, counts):
                pass
        finally:
            writer.close()


async def _answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, counts: Counter[str]
) -> bool:
    """Whether the request was answered, and the connection may be used again."""
    try:
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
    except (OSError, asyncio.IncompleteReadError):
        counts["lost"] += 1
        return False
    counts["answered" if head.startswith(b"http/1.1 200") else "refused"] += 1
    return b"connection: close" not in head
