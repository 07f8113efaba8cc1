"""HTTP/1.1 as uvicorn speaks it, with limits on what arrives and on how long it may take.

They hold before any key is looked at: a client that is not known costs no more than its limits. An offer to
change the protocol (``Upgrade: h2c``, which the HTTP clients of Java and ``curl --http2`` send) is ignored,
as RFC 9110, section 7.8, allows.
"""

from __future__ import annotations

import asyncio
import resource
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.cycle import Cycle
from service.http.problems import BY_STATUS

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers, or trailers and chunk sizes, of one request."""
MAX_HEADERS = 128
HEAD_SECONDS = 10.0
"""From the first byte of a request, or from the begin of its connection, to the end of its headers."""
STALLED_SECONDS = 20.0
"""A client that takes none of its response for so long is disconnected."""
LINGER_SECONDS = 0.5
"""At the end of the service, idle connections stay for so long: a request may be on its way."""
RESERVED_FILES = 64
"""File descriptors that connections leave to graphs, logs and health checks."""
HEALTH_PATHS = (b"/livez", b"/readyz", b"/v2/health/live", b"/v2/health/ready")
MAX_CHUNK_OVERHEAD = 2
"""Bytes of chunk sizes and extensions for each byte of a body, above MAX_HEAD_BYTES."""
SLICE = 2048
"""Bytes that are parsed at a time; the shortest request has 18."""
MOST_PIPELINED = 16
"""Requests of one connection that wait for the one at work; what follows them is parsed later."""
UPGRADE_HEADERS = (b"upgrade", b"http2-settings")


def max_connections() -> int:
    """Returns how many connections the process's limit of open files has room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 2**16
    return max(1, soft - RESERVED_FILES)


class Protocol(HttpToolsProtocol):
    """One connection.

    A connection beyond :func:`max_connections` takes the place of the one that has waited longest for the
    headers of a request. Where all are busy, it may ask for the health of the service and nothing else.
    """

    _reason: tuple[HTTPStatus, str] | None
    """Error with which the current request is refused."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._held = b""
        self._running: Cycle | None = None
        self._idle_since: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._crowded = self._refused = self._ending = False
        self._since = self.loop.time()
        self._expect_head()
        self._arm_head_timer()
        if len(self.connections) > max_connections():
            self._make_room()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:  # uvicorn marks only the last request that came, not the one at work
            self._running.disconnected = not self._running.response_complete
            self._running.message_event.set()
        self._held = b""
        self.pipeline.clear()
        for timer in (self._timer, self._stalled, self._idle_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    # --- what arrives -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._held:
            self._held += data  # what was on its way before reading was paused
        elif len(data) <= SLICE and len(self.pipeline) < MOST_PIPELINED:
            self._receive(data)
        else:
            self._receive_in_slices(data)

    def _receive_in_slices(self, data: bytes) -> None:
        """Parses bytes until enough requests wait, and holds the rest.

        A client may send thousands of requests at once and leave: their parsing would keep others waiting.
        """
        for start in range(0, len(data), SLICE):
            if len(self.pipeline) >= MOST_PIPELINED:
                self._held = data[start:]
                self._disarm_head_timer()
                self.flow.pause_reading()
                return
            self._receive(data[start : start + SLICE])

    def _receive(self, data: bytes) -> None:
        if self._refused:
            return
        if not self._is_answered() or self.waiting_for_head:  # not by a body that no task reads
            self._idle_since = None
        self._received += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST, "this is not an HTTP request")
            return
        if self._reason is not None:
            self._refuse(*self._reason)
        elif self.waiting_for_head:
            if self._received > MAX_HEAD_BYTES:
                self._refuse(*_TOO_LONG_HEAD)
            elif self._received and self._timer is None:
                self._since = self.loop.time()
                self._arm_head_timer()
        elif self._received - self._body > MAX_HEAD_BYTES + MAX_CHUNK_OVERHEAD * self._body:
            self._refuse(HTTPStatus.BAD_REQUEST, "the body has more chunk headers and trailers than content")

    def _feed(self, data: bytes) -> None:
        """Parses bytes; parses the rest again without the offer where a request offers an upgrade.

        The parser takes what follows the headers of such a request for another protocol, and stops there.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self._reason is not None or self.parser.get_method() == b"CONNECT":
                    self._reason = self._reason or _NO_TUNNEL
                    return
                data = self._head_without_offer() + data[upgrade.args[0] :]
                self._received += len(data)
                self.parser = httptools.HttpRequestParser(self)

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in UPGRADE_HEADERS)
            if name not in UPGRADE_HEADERS and (value or name != b"connection"):
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value) + 4
        if self._head > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            self._reason = _TOO_LONG_HEAD
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # _feed parses it again, or refuses a tunnel
        self._disarm_head_timer()
        self.waiting_for_head = False
        if self._head > MAX_HEAD_BYTES:
            self._reason = _TOO_LONG_HEAD
        elif self._crowded and self.url.partition(b"?")[0] not in HEALTH_PATHS:
            self._reason = (
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the service has as many connections as it can hold",
            )
        if self._reason is None:
            self._begin_cycle()

    def _begin_cycle(self) -> None:
        """Does what uvicorn does for complete headers, without upgrades."""
        version = self._complete_scope()
        before, self.cycle = (
            self.cycle,
            Cycle(
                scope=self.scope,
                transport=self.transport,
                flow=self.flow,
                logger=self.logger,
                access_logger=self.access_logger,
                access_log=self.access_log,
                default_headers=self.server_state.default_headers,
                message_event=asyncio.Event(),
                expect_100_continue=self.expect_100_continue,
                keep_alive=version != "1.0"
                and self.parser.should_keep_alive()
                and not self._ending
                and not self._crowded,
                on_response=self.on_response_complete,
            ),
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _complete_scope(self) -> str:
        """Adds the request line to the scope; returns the version of HTTP."""
        version, url = self.parser.get_http_version(), httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        self.scope["raw_path"] = self.root_path.encode("ascii") + url.path
        self.scope["query_string"] = url.query or b""
        return version

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self._reason is None and not self.cycle.response_complete:
            self.cycle.body += body
            if len(self.cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._reason is not None or self.waiting_for_head:
            return  # refused, or parsed again by _feed
        if self.cycle.response_complete:
            self._idle_since = self.loop.time()
        else:
            self.cycle.more_body = False
            self.cycle.message_event.set()
        self._expect_head()

    def _expect_head(self) -> None:
        self.waiting_for_head = True
        self._head = self._received = self._body = 0
        self._reason = None

    # --- how long it takes ------------------------------------------------------------------------

    def _arm_head_timer(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _disarm_head_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        self._timer = None
        if self._received:
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT, f"the headers were not complete within {HEAD_SECONDS:g} s"
            )
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Starts the next request that came, or the time for which an idle connection is kept."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        if self._held and len(self.pipeline) < MOST_PIPELINED:
            held, self._held = self._held, b""
            self._receive_in_slices(held)
        if not self._held:
            self.flow.resume_reading()
        if not self.cycle.response_complete:
            return
        self._idle_since = self.loop.time()
        if self._idle_timer is None:  # one timer per connection: one per response takes 2 % of a request
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._check_idle)

    def _check_idle(self) -> None:
        self._idle_timer = None
        if self._idle_since is None:
            return  # busy; the next response arms the timer again
        rest = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if rest > 0:
            self._idle_timer = self.loop.call_later(rest, self._check_idle)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _watch_reader(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self._check_reader)

    def _check_reader(self) -> None:
        if self.transport.get_write_buffer_size() >= self._unsent:
            self.transport.abort()
        else:
            self._watch_reader()

    # --- the end of the service -------------------------------------------------------------------

    def shutdown(self) -> None:
        """Makes the next response that begins the last one, and closes the connection if none does."""
        self._ending = True
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False
        self.loop.call_later(LINGER_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._is_answered():
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # --- how many there are -----------------------------------------------------------------------

    def _make_room(self) -> None:
        """Closes the connection that has waited longest for headers, or keeps this one for health checks."""
        others: list[Any] = [one for one in self.connections if one is not self]
        idle = [one for one in others if one._is_answered() and not one.transport.is_closing()]
        if idle:
            min(idle, key=lambda one: one._since).transport.close()
        else:
            self._crowded = True

    def _is_answered(self) -> bool:
        """Whether no request waits for its response; the next one, or a body that no task reads, may come."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answers with an error and closes the connection; nothing more of it is read.

        Where complete requests still wait for their responses, the last of these closes it instead.
        """
        if self.transport.is_closing():
            return
        self._refused = True
        self._disarm_head_timer()
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and not self.cycle.more_body:
            self.cycle.keep_alive = False
            return
        if not busy or not (self.cycle.response_started or self.pipeline):
            self.transport.write(_response(status, detail))
        self.transport.close()


_NO_TUNNEL = (HTTPStatus.METHOD_NOT_ALLOWED, "the service opens no tunnels: CONNECT is not supported")
_TOO_LONG_HEAD = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"a request may have {MAX_HEADERS} headers, and {MAX_HEAD_BYTES} bytes of them with its first line",
)


def _response(status: HTTPStatus, detail: str) -> bytes:
    """Returns an error as RFC 9457 writes it, for a request that reached no layer above."""
    problem = {"type": BY_STATUS[status], "title": status.phrase, "status": status.value}
    body = orjson.dumps({**problem, "detail": detail, "error": detail})
    retry = b"retry-after: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else b""
    return b"".join(
        [
            b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()),
            b"content-type: application/problem+json\r\ncontent-length: %d\r\n" % len(body),
            retry,
            b"connection: close\r\n\r\n",
            body,
        ]
    )
