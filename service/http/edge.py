"""What every request passes first and every answer last: its id, headers that protect, and the record of it.

One plain ASGI layer around everything else, since what it costs it costs every request.
"""

from __future__ import annotations

import logging
import random
import re
import time
from functools import lru_cache
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.engine.phases import begin
from service.http.problems import problem
from service.http.security import headers_of
from service.telemetry import logs
from service.telemetry.context import RequestContext
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracer

log = logging.getLogger("anyview")

SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,64}")
"""What an ``X-Request-ID`` may be to be kept."""


class Edge:
    """The outermost layer.

    Arguments:
        app: Everything else.
        metrics: Where requests are counted.
        tracer: What makes traces of them, if anything does.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(_request_id(scope))
        state = scope.setdefault("state", {})
        state["request_id"], state["context"] = context.request_id, context
        begin(context.phases)
        if self._tracer is not None:
            self._tracer.begin(context, scope)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.answer(message["status"])
                message["headers"] = [*message["headers"], *headers_of(scope["path"]), *_told(context)]
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:
            log.error(
                "the service failed", exc_info=error, extra={"fields": {"request_id": context.request_id}}
            )
            if not context.status:
                detail = "the service failed; its log has the reason under this request_id"
                answer = problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail, context.request_id)
                await answer(scope, receive, send_on)
            else:
                raise  # half an answer must not look whole
        finally:
            self._end(context, scope)

    def _end(self, context: RequestContext, scope: Scope) -> None:
        if not context.operation and (route := scope.get("route")) is not None:
            context.operation = str(getattr(route, "operation_id", None) or getattr(route, "name", ""))
        seconds = time.perf_counter() - context.phases.began
        self._metrics.count(context, seconds)
        logs.request(context, seconds)
        if self._tracer is not None:
            self._tracer.end(context)


def _request_id(scope: Scope) -> str:
    """The one that was brought, if it is sane; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE_ID.fullmatch(value):
            return str(value, "ascii")
    return f"{random.getrandbits(128):032x}"


def _told(context: RequestContext) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """The id, and ``Server-Timing`` in milliseconds."""
    # Phases follow each other without a gap, so together they are the whole.
    total = sum(context.phases.seconds.values()) or time.perf_counter() - context.phases.began
    spent = tuple([1e3 * seconds for seconds in (*context.phases.seconds.values(), total)])
    timing = _form(tuple(context.phases.seconds)) % spent
    return (b"x-request-id", context.request_id.encode()), (b"server-timing", timing.encode())


@lru_cache(maxsize=64)
def _form(phases: tuple[str, ...]) -> str:
    return ", ".join(f"{phase};dur=%.3f" for phase in (*phases, "total"))
