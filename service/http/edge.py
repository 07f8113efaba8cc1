"""The outermost layer: request id, security headers, compression, and the record of each request.

It is plain ASGI: each layer of the framework would add its cost to every request.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.engine.phases import CURRENT
from service.http.compression import WORTH_ENCODING, acceptable, compressed
from service.http.problems import problem
from service.telemetry.context import RequestContext
from service.telemetry.metrics import Metrics, record_end
from service.telemetry.tracing import Tracer

log = logging.getLogger("anyview")

VALID_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,64}")
"""An ``X-Request-ID`` that the service takes over."""
FAILED = "the service failed; its log has the reason under this request_id"
PIECE = 2**18
"""Bytes of a response that are sent at a time."""


Headers = tuple[tuple[bytes, bytes], ...]


def _security(policy: str) -> Headers:
    return (
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"content-security-policy", f"{policy}; frame-ancestors 'none'".encode()),
    )


_DEFAULT = _security("default-src 'none'")
_PAGES = {
    "/": _security(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    ),
    # Swagger UI starts from an inline script and sets inline styles.
    "/docs": _security(
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    ),
}


class Edge:
    """Gives each request its id and its context, and answers 500 where an error has no handler.

    Arguments:
        app: The next layer.
        metrics: Counters of requests.
        tracer: Writer of traces; None: no traces.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        headers = state["headers"] = dict(scope["headers"])  # once: each layer looks for some
        context = RequestContext(request_id(headers))
        state["request_id"], state["context"] = context.request_id, context
        path = state["path"] = _path_below_root(scope)
        CURRENT.set(context.phases)
        if self._tracer is not None:
            self._tracer.begin(context, headers)

        start: Message | None = None

        async def send_on(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                context.status = message["status"]
                context.phases.finish()
                security = _PAGES.get(path, _DEFAULT)
                message["headers"] = [*message["headers"], *security, *_headers(context)]
                start = message  # sent with the body, whose coding it names
                return
            if start is not None:
                head, start = start, None
                if len(message.get("body", b"")) >= WORTH_ENCODING and (
                    accepted := acceptable(headers, head, message)
                ):
                    message = await compressed(accepted, head, message)
                await send(head)
            if len(message.get("body", b"")) <= PIECE:
                await send(message)
            else:
                await _send_in_pieces(message, send)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:
            log.error(
                "the service failed", exc_info=error, extra={"fields": {"request_id": context.request_id}}
            )
            if not context.status or start is not None:
                answer = problem(HTTPStatus.INTERNAL_SERVER_ERROR, FAILED, context.request_id)
                await answer(scope, receive, send_on)
            else:
                raise  # a response that was cut must not look complete
        finally:
            self._end(context, scope)

    def _end(self, context: RequestContext, scope: Scope) -> None:
        if not context.operation and (route := scope.get("route")) is not None:
            context.operation = str(getattr(route, "operation_id", None) or getattr(route, "name", ""))
        record_end(context, self._metrics, self._tracer)


async def _send_in_pieces(message: Message, send: Send) -> None:
    """Sends a long body: each piece waits until the client has read most of those before it.

    The request, and the memory that it took, thus last until the client has read its response.
    """
    rest = memoryview(message["body"])
    while len(rest) > PIECE:
        await send({"type": "http.response.body", "body": bytes(rest[:PIECE]), "more_body": True})
        rest = rest[PIECE:]
    await send({**message, "body": bytes(rest)})


def _path_below_root(scope: Scope) -> str:
    """Returns the path of a request without the ``root_path`` that a proxy may have left in it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """Returns the request's own id if it is valid, else a new one."""
    sent = headers.get(b"x-request-id")
    if sent is not None and VALID_ID.fullmatch(sent):
        return str(sent, "ascii")
    return f"{random.getrandbits(128):032x}"


def _headers(context: RequestContext) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Returns the request id, and ``Server-Timing`` in milliseconds."""
    seconds = context.phases.seconds
    spent = [1e3 * value for value in seconds.values()]
    timing = _timing_format(tuple(seconds)) % (*spent, 1e3 * context.phases.total)
    return (b"x-request-id", context.request_id.encode()), (b"server-timing", timing.encode())


@lru_cache(maxsize=64)
def _timing_format(phases: tuple[str, ...]) -> str:
    return ", ".join(f"{phase};dur=%.3f" for phase in (*phases, "total"))
