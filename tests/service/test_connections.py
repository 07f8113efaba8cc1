"""What a turn of the loop writes goes out at its end: all of it, once, in order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

from hypothesis import given
from hypothesis import strategies as st

from service.http.protocol import MOST_BYTES, Together, Turn


class Sent:
    """A transport that notes what reaches the network in one call."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.calls.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def in_a_loop(use: Callable[[Together], Any]) -> Sent:
    """What is sent when that is done in one turn, and a turn follows."""

    async def run() -> Sent:
        sent = Sent()
        use(Together(sent, Turn(asyncio.get_running_loop())))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        return sent

    return asyncio.run(run())


@given(parts=st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=9))
def test_a_turn_is_one_call_with_all_of_it_in_order(parts: list[bytes]) -> None:
    def use(transport: Together) -> None:
        for part in parts:
            transport.write(part)

    assert in_a_loop(use).calls == [b"".join(parts)]


def test_closing_sends_what_waits_and_nothing_after_it() -> None:
    def use(transport: Together) -> None:
        transport.write(b"last words")
        transport.close()
        transport.write(b"too late")

    sent = in_a_loop(use)
    assert (sent.calls, sent.closed) == ([b"last words"], True)


def test_much_does_not_wait() -> None:
    def use(transport: Together) -> None:
        transport.write(b"head")
        transport.write(bytes(MOST_BYTES + 1))
        assert transport.calls == [b"head", bytes(MOST_BYTES + 1)]
        transport.write(b"tail")

    assert in_a_loop(use).calls[2:] == [b"tail"]


def test_no_more_waits_than_fits() -> None:
    """However many pieces it comes in."""

    def use(transport: Together) -> None:
        for _ in range(MOST_BYTES // 1000 + 1):
            transport.write(bytes(1000))
        assert sum(map(len, transport.calls)) > MOST_BYTES

    assert len(in_a_loop(use).calls) == 1


def test_all_else_is_the_transport_that_it_was_made_of() -> None:
    transport = Mock()
    assert Together(transport, Mock()).get_extra_info("peername") is transport.get_extra_info.return_value


def test_head_and_body_of_an_answer_arrive_together(oip_address: str) -> None:
    host, _, port = oip_address.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: here\r\n\r\n")
        head, _, body = connection.recv(MOST_BYTES).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body
