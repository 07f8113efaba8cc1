"""Requests that offer another protocol are answered once, with their body (RFC 9110, section 7.8)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any

import pytest

HEAD = b"POST /models/tiny/encode?seed=1 HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
BODY = json.dumps({"inputs": {"label": [1, 2, 3]}}).encode()
H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
LENGTH = b"content-length: %d\r\n\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


class Connection:
    """A connection on which a test sends bytes and reads whole responses."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, *packets: bytes) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets:
            self._socket.sendall(packet)

    def read(self) -> tuple[int, Any]:
        """Status and document of the next response; the tests send one request after the other."""
        response = HTTPResponse(self._socket)
        response.begin()
        return response.status, json.loads(response.read())

    def close_and_drain(self) -> bytes:
        """Bytes that the server sends until it has answered a last request and closed the connection."""
        self.send(b"GET /livez HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        return self.drain()

    def drain(self) -> bytes:
        """Bytes that the server sends until it closes the connection."""
        with self._socket.makefile("rb") as rest:
            return rest.read()


@contextmanager
def connected(address: str) -> Iterator[Connection]:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        yield Connection(connection)


def chunks(body: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:])) + b"0\r\n\r\n"


PACKETS = {
    "body with the head": (HEAD + H2C + LENGTH + BODY,),
    "body in a later packet": (HEAD + H2C + LENGTH, BODY),
    "head in two packets": (HEAD + H2C[:30], H2C[30:] + LENGTH + BODY[:4], BODY[4:]),
    "chunked": (HEAD + H2C + CHUNKED + chunks(BODY),),
    "chunked, later": (HEAD + H2C + CHUNKED, chunks(BODY)),
    "websocket": (HEAD + b"connection: upgrade\r\nupgrade: websocket\r\n" + LENGTH + BODY,),
    "unknown protocol": (
        HEAD + b"Upgrade: IRC/6.9\r\nConnection: keep-alive\r\nConnection: upgrade\r\n" + LENGTH,
        BODY,
    ),
    "no offer": (HEAD + LENGTH + BODY,),
}


@pytest.mark.parametrize("packets", PACKETS.values(), ids=PACKETS)
def test_an_offer_is_ignored_and_the_request_answered_once(
    oip_address: str, packets: tuple[bytes, ...]
) -> None:
    """Two requests on one connection, and no byte beyond their responses."""
    with connected(oip_address) as connection:
        for _ in range(2):
            connection.send(*packets)
            status, document = connection.read()
            assert (status, document.get("n_data"), document.get("seed")) == (200, 3, 1)
        last = connection.close_and_drain()
    assert last.startswith(b"HTTP/1.1 200 OK\r\n")
    assert last.count(b"HTTP/1.1") == 1
    assert last.endswith(b'{"status":"alive","missing":[]}')


def test_offers_of_pipelined_requests_are_ignored(oip_address: str) -> None:
    with connected(oip_address) as connection:
        connection.send((HEAD + H2C + LENGTH + BODY) * 3)
        answers = connection.close_and_drain()
    assert answers.count(b"HTTP/1.1 200 OK") == 4
    assert answers.count(b"HTTP/1.1") == 4


def test_bytes_that_are_no_http_are_refused(oip_address: str) -> None:
    with connected(oip_address) as connection:
        connection.send(b"GET / HTTP/1.1\r\nhost test\r\n\r\n")
        answer = connection.drain()
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("target", ["*", "elsewhere.example:443", "/livez"])
def test_a_tunnel_is_refused_once_and_the_connection_closed(oip_address: str, target: str) -> None:
    """Parsed again and again, such a request would take all memory."""
    with connected(oip_address) as connection:
        connection.send(f"CONNECT {target} HTTP/1.1\r\nhost: test\r\n\r\n".encode())
        assert connection.drain().startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
