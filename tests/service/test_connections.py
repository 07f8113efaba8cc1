"""Limits on what a connection may send, and on how long it may take, hold before any key is looked at."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http import protocol
from service.http.protocol import MAX_HEAD_BYTES, MAX_HEADERS, Protocol

POST = b"POST /models/tiny/encode?seed=1 HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        yield connection


def response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Reads one response: status, headers, body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += (piece := connection.recv(65536))
        assert piece, received
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(first.split()[1]), headers, body


@pytest.mark.parametrize(
    "head",
    {
        "one long header": b"x-long: " + bytes([97]) * (MAX_HEAD_BYTES + 1),
        "many headers": b"".join(b"x-%d: 1\r\n" % i for i in range(MAX_HEADERS + 1)),
        "a line that never ends": b"x-long: " + bytes([97]) * (4 * MAX_HEAD_BYTES),
    }.values(),
    ids=["one long header", "many headers", "a line that never ends"],
)
def test_more_headers_than_the_limit_are_refused_and_the_connection_closed(
    oip_address: str, head: bytes
) -> None:
    with connected(oip_address) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: here\r\n")
        try:
            connection.sendall(head + b"\r\n\r\n")
        except OSError:
            return  # closed while it was sent
        status, headers, body = response(connection)
    assert status == 431
    assert headers["connection"] == "close"
    assert json.loads(body)["detail"] == json.loads(body)["error"]


def test_a_long_address_is_refused(oip_address: str) -> None:
    with connected(oip_address) as connection:
        connection.sendall(b"GET /livez?" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nhost: here\r\n\r\n")
        assert response(connection)[0] == 431


def test_endless_chunk_extensions_are_refused(oip_address: str) -> None:
    with connected(oip_address) as connection:
        connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\n1;")
        try:
            for _ in range(64):
                connection.sendall(b"a" * 2048)
            connection.settimeout(60)
            with connection.makefile("rb") as rest:
                received = rest.read()  # ends where the service closes the connection
        except ConnectionError:
            received = b""  # closed while extensions were still on their way
    assert not received or received.startswith(b"HTTP/1.1 400")


class Loop:
    """An event loop's clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Any, Mock]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Any, *arguments: Any) -> Mock:
        handle = Mock()
        self.timers.append((self.now + seconds, lambda: call(*arguments), handle))
        return handle

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, call, handle in due:
            if not handle.cancel.called:
                call()


def made(loop: Loop, connections: set[Any]) -> tuple[Protocol, Mock]:
    """A connection of the protocol over a transport that records what is written."""
    import uvicorn

    config = uvicorn.Config(app=Mock(), http=Protocol, log_config=None, ws="none")
    config.load()
    state = Mock(connections=connections, tasks=set(), default_headers=[], total_requests=0)
    one = Protocol(config=config, server_state=state, app_state={}, _loop=loop)  # type: ignore[arg-type]
    transport = Mock(spec=asyncio.Transport)
    transport.is_closing.side_effect = lambda: transport.close.called or transport.abort.called
    transport.get_extra_info.return_value = None
    one.connection_made(transport)
    return one, transport


def test_headers_that_are_not_complete_in_time_end_the_connection() -> None:
    loop = Loop()
    one, transport = made(loop, set())
    one.data_received(b"GET /livez HTTP/1.1\r\nhost")
    loop.advance(protocol.HEAD_SECONDS - 1)
    assert not transport.close.called
    one.data_received(b": he")  # a byte now and then does not help
    loop.advance(1)
    assert transport.close.called
    assert transport.write.call_args[0][0].startswith(b"HTTP/1.1 408")


def test_a_connection_that_sends_nothing_is_closed_without_a_word() -> None:
    loop = Loop()
    _, transport = made(loop, set())
    loop.advance(protocol.HEAD_SECONDS)
    assert transport.close.called
    assert not transport.write.called


LIVEZ = b"GET /livez HTTP/1.1\r\nhost: here\r\n\r\n"


def parsed(one: Protocol, *packets: bytes) -> Any:
    """Sends packets while no request is worked on; returns the cycle of the last request."""
    one._start_asgi_task = Mock()  # type: ignore[method-assign]
    for packet in packets:
        one.data_received(packet)
    return one.cycle


def test_a_client_that_waits_long_for_its_response_is_not_late_with_the_next_request() -> None:
    loop = Loop()
    one, transport = made(loop, set())
    parsed(one, LIVEZ)
    loop.advance(2 * protocol.HEAD_SECONDS)
    assert not transport.close.called


@pytest.mark.parametrize("rest", [b"GET /li", b"\0\0\r\n\r\n"], ids=["half a request", "no request"])
def test_what_follows_a_request_does_not_cut_its_response(rest: bytes) -> None:
    """The response is written, and is the last one of the connection."""
    loop = Loop()
    one, transport = made(loop, set())
    cycle = parsed(one, LIVEZ, rest)
    loop.advance(protocol.HEAD_SECONDS)
    one.data_received(LIVEZ)
    assert (transport.close.called, transport.write.called) == (False, False)
    assert (cycle is one.cycle, cycle.keep_alive) == (True, False)


def test_a_body_that_breaks_off_its_framing_is_refused_with_a_reason() -> None:
    one, transport = made(Loop(), set())
    parsed(one, b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n", b"zz\r\n")
    assert transport.write.call_args[0][0].startswith(b"HTTP/1.1 400")
    assert transport.close.called


def test_a_client_that_leaves_ends_the_request_at_work_and_not_the_last_that_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its response would be written to a connection that is closed."""
    monkeypatch.setattr(HttpToolsProtocol, "_start_asgi_task", Mock())
    one, _ = made(Loop(), set())
    one.data_received(LIVEZ)
    at_work = one.cycle
    one.data_received(LIVEZ)
    assert one.cycle is not at_work
    one.connection_lost(None)
    assert at_work.disconnected
    assert at_work.message_event.is_set()


def test_of_very_many_requests_at_once_few_are_parsed_before_the_first_is_answered() -> None:
    """A client that sends thousands and leaves costs no more than some."""
    loop = Loop()
    one, transport = made(loop, set())
    parsed(one, LIVEZ * 5000)
    most = protocol.MOST_PIPELINED + protocol.SLICE // len(LIVEZ) + 1
    assert len(one.pipeline) <= most
    assert transport.pause_reading.called
    one.data_received(LIVEZ)  # was on its way
    loop.advance(2 * protocol.HEAD_SECONDS)
    assert not transport.close.called
    one.connection_lost(None)
    assert not one.pipeline


def test_very_many_requests_at_once_are_all_answered_in_their_order(oip_address: str) -> None:
    count, ids = 400, list[int]()
    request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-request-id: %d\r\n\r\n"
    with connected(oip_address) as connection:
        connection.sendall(b"".join(request % number for number in range(count)))
        with connection.makefile("rb") as stream:
            while len(ids) < count:
                line = stream.readline()
                assert line, f"{len(ids)} responses"
                if line.startswith(b"x-request-id: "):
                    ids.append(int(line.split()[1]))
    assert ids == [*range(count)]


def test_at_the_end_an_idle_connection_answers_one_request_more() -> None:
    one, transport = made(Loop(), set())
    parsed(one, LIVEZ).response_complete = True
    one.shutdown()
    assert not transport.close.called
    assert parsed(one, LIVEZ).keep_alive is False


def test_at_the_end_an_idle_connection_is_closed_after_a_while_and_a_busy_one_by_its_response() -> None:
    loop = Loop()
    (idle, transport), (busy, other) = made(loop, set()), made(loop, set())
    cycle = parsed(busy, LIVEZ)
    idle.shutdown()
    busy.shutdown()
    loop.advance(protocol.LINGER_SECONDS)
    assert (transport.close.called, other.close.called, cycle.keep_alive) == (True, False, False)


def test_at_the_end_a_response_that_has_begun_does_not_end_its_connection_unannounced() -> None:
    """Its headers promised to keep the connection, so the client's next request may be on its way."""
    one, _ = made(Loop(), set())
    begun = parsed(one, LIVEZ)
    begun.response_started = True
    one.shutdown()
    assert begun.keep_alive is True


def test_a_client_that_reads_nothing_is_disconnected_and_one_that_reads_slowly_is_not() -> None:
    loop = Loop()
    one, transport = made(loop, set())
    one.waiting_for_head = False
    one._disarm_head_timer()
    transport.get_write_buffer_size.return_value = 1000
    one.pause_writing()
    transport.get_write_buffer_size.return_value = 900
    loop.advance(protocol.STALLED_SECONDS)
    assert not transport.abort.called
    loop.advance(protocol.STALLED_SECONDS)
    assert transport.abort.called


def test_the_connection_that_waited_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "max_connections", lambda: 2)
    loop, connections = Loop(), set[Any]()
    transports = []
    for _ in range(3):
        transports.append(made(loop, connections)[1])
        loop.advance(1)
    assert [transport.close.called for transport in transports] == [True, False, False]


def test_where_all_are_busy_only_health_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "max_connections", lambda: 0)
    one, transport = made(Loop(), set())
    one.data_received(b"GET /models HTTP/1.1\r\nhost: here\r\n\r\n")
    assert transport.write.call_args[0][0].startswith(b"HTTP/1.1 503")
    assert transport.close.called


def test_connections_leave_file_descriptors_to_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    assert protocol.max_connections() == 256 - protocol.RESERVED_FILES


def test_a_connection_is_kept_from_the_end_of_its_last_response_for_as_long_as_is_set() -> None:
    loop = Loop()
    one, transport = made(loop, set())
    kept = one.timeout_keep_alive
    for _ in range(3):  # the timer of the first response does not close the connection after the second
        cycle = parsed(one, LIVEZ)
        loop.advance(kept + 1)
        assert not transport.close.called  # the request is at work
        cycle.response_complete = True
        one.on_response_complete()
        loop.advance(kept - 1)
        assert not transport.close.called
    loop.advance(1)
    assert transport.close.called


UNREAD = LIVEZ.replace(b"\r\n\r\n", b"\r\ncontent-length: 2\r\n\r\n")


def answered(loop: Loop, connections: set[Any]) -> tuple[Protocol, Mock]:
    """A connection whose request has its response, while its body is still to come."""
    one, transport = made(loop, connections)
    parsed(one, UNREAD).response_complete = True
    one.on_response_complete()
    return one, transport


def test_a_body_that_nobody_reads_does_not_keep_a_connection() -> None:
    loop = Loop()
    one, transport = answered(loop, set())
    one.data_received(b"a")
    loop.advance(one.timeout_keep_alive)
    assert transport.close.called


def test_a_connection_is_kept_from_the_end_of_a_body_that_came_after_its_response() -> None:
    loop = Loop()
    one, transport = answered(loop, set())
    kept = one.timeout_keep_alive
    loop.advance(kept - 1)
    one.data_received(b"ab")
    loop.advance(kept - 1)
    assert not transport.close.called
    loop.advance(1)
    assert transport.close.called


def test_a_connection_whose_request_is_answered_makes_room_while_its_body_is_to_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "max_connections", lambda: 1)
    connections = set[Any]()
    one, transport = answered(Loop(), connections)
    one.data_received(b"a")
    made(Loop(), connections)
    assert transport.close.called


def test_a_connection_that_may_ask_for_health_alone_is_closed_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "max_connections", lambda: 0)
    one, _ = made(Loop(), set())
    assert parsed(one, LIVEZ).keep_alive is False


def sent(method: str, headers: list[tuple[bytes, bytes]], body: bytes = b"abc") -> tuple[bytes, Any]:
    """What the cycle of a request writes for a response, and the cycle."""
    one, transport = made(Loop(), set())
    cycle = parsed(one, method.encode() + b" / HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n\r\n")

    async def respond() -> None:
        await cycle.send({"type": "http.response.start", "status": 200, "headers": headers})
        await cycle.send({"type": "http.response.body", "body": body})

    asyncio.run(respond())
    return b"".join(call[0][0] for call in transport.write.call_args_list), cycle


def test_a_response_to_a_post_is_written_as_uvicorn_writes_all_others() -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"3"), (b"x-seed", b"1")]
    written, cycle = sent("POST", headers)
    assert written == sent("PUT", headers)[0]
    assert cycle.response_complete
    assert b"transfer-encoding: chunked\r\n" in sent("POST", headers[:1])[0]
    assert not sent("POST", [*headers, (b"connection", b"close")])[1].keep_alive


@pytest.mark.parametrize("value", [b"1\r\nx-other: 2", b"1\n", b"\0"])
def test_a_header_that_would_end_early_is_not_written(value: bytes) -> None:
    with pytest.raises(RuntimeError, match="Invalid HTTP header value"):
        sent("POST", [(b"content-length", b"3"), (b"x-seed", value)])


def test_a_response_that_is_longer_than_announced_is_not_written() -> None:
    with pytest.raises(RuntimeError, match="longer than Content-Length"):
        sent("POST", [(b"content-length", b"2")])
