"""uvicorn's server, which answers at its end what has already arrived."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
import sys
from contextlib import suppress

import uvicorn
from uvicorn.supervisors import Multiprocess

SO_ATTACH_FILTER = 26
"""Option of sockets on Linux, see socket(7); the module ``socket`` does not name it."""
DROP_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""Filter in classic BPF: drops segments of TCP whose flags, in byte 13 of the header, contain SYN."""
BACKLOG_SECONDS = 0.1
"""Time for connections whose handshake has begun to complete it and to be accepted."""


class Server(uvicorn.Server):
    """Accepts the connections that wait before it stops listening.

    Where a listener is closed, the system resets connections that were not accepted, with their requests.
    A filter therefore first lets no new connection begin: its client tries again after a second, as after a
    lost packet, and is refused or reaches another server.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            for listener in server.sockets:
                refuse_new(listener.fileno())
        await asyncio.sleep(BACKLOG_SECONDS)
        await super().shutdown(sockets)


def refuse_new(listener: int) -> None:
    """Lets no new connection begin at a listener; those that have begun complete. Linux only.

    Arguments:
        listener: File descriptor of a socket of TCP.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in DROP_SYN))
    program = struct.pack("HL", len(DROP_SYN), ctypes.addressof(code))
    with suppress(OSError), socket.socket(fileno=os.dup(listener)) as one:  # another system has no filters
        one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def run(config: uvicorn.Config) -> None:
    """Runs the server, or as many workers as configured, until it is ended by a signal.

    Workers share their listener, and close it when the last of them ends, so it has no filter.
    """
    if config.workers > 1:
        Multiprocess(config, [config.bind_socket()]).run()
        return
    server = Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(uvicorn.config.STARTUP_FAILURE)
