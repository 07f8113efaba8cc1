"""Table of the endpoints that bypass the framework.

The framework's router and response objects take longer than the graph of a small encoder. The framework does
not document these endpoints: ``service/openapi`` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple, Protocol, TypeAlias

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.deadlines import Deadlines
from service.http.response import CLOSE, Reply
from service.telemetry.context import RequestContext

ErrorHandler: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]


class Lifecycle(Protocol):
    """State of the service that every response depends on."""

    draining: bool
    """The service is about to stop."""


LONGEST_KEPT = 1024
"""Longest path whose endpoint is kept, in characters."""


class EndpointRequest(NamedTuple):
    """A request to an endpoint of the table.

    Arguments:
        scope: ASGI scope.
        receive: ASGI callable that yields the body.
        parameters: Parameters of the path, by name.
        headers: Values by lower-case name, as bytes; the last one of a repeated header.
        context: Record of the request.
        deadlines: Deadlines of all requests.
    """

    scope: Scope
    receive: Receive
    parameters: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    context: RequestContext
    deadlines: Deadlines

    def header(self, name: bytes) -> str | None:
        """Returns a header by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else str(value, "latin1")


class Endpoint(NamedTuple):
    """One row of the table.

    Arguments:
        path: Path with parameters in braces.
        operation_id: Name of the operation in metrics, logs and traces.
        respond: Returns the reply to a POST request; its exceptions go to the handler of their class.
    """

    path: str
    operation_id: str
    respond: Callable[[EndpointRequest], Awaitable[Reply]]


class EndpointTable:
    """Responds to requests to the endpoints of the table, and passes all others to the framework.

    Arguments:
        app: Framework.
        endpoints: Rows of the table.
        handlers: Error handlers by class of exception.
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Iterable[Endpoint],
        handlers: Mapping[type[Exception], ErrorHandler],
    ) -> None:
        patterns = [(compile_path(endpoint.path)[0], endpoint) for endpoint in endpoints]
        self._app = app
        self._handlers = handlers

        def match(path: str) -> tuple[Endpoint, dict[str, str]] | None:
            matches = ((endpoint, pattern.match(path)) for pattern, endpoint in patterns)
            return next(((endpoint, hit.groupdict()) for endpoint, hit in matches if hit), None)

        self._match, self._match_once = match, lru_cache(maxsize=256)(match)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["state"]["path"] if scope["type"] == "http" else ""
        match = self._match_once(path) if len(path) <= LONGEST_KEPT else self._match(path)
        if match is None:
            await self._app(scope, receive, send)
            return
        endpoint, parameters = match
        state = scope["state"]
        context: RequestContext = state["context"]
        context.operation = endpoint.operation_id
        try:
            if scope["method"] != "POST":
                raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
            request = EndpointRequest(
                scope, receive, parameters, state["headers"], context, state["deadlines"]
            )
            reply = await endpoint.respond(request)
        except Exception as error:
            await self._respond_to_error(error, scope, receive, send)
            return
        lifecycle: Lifecycle = state["catalog"]
        headers_of_reply = [
            (b"content-type", reply.media.encode()),
            (b"content-length", b"%d" % len(reply.content)),
            *reply.headers,
            *((CLOSE,) if lifecycle.draining else ()),
        ]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers_of_reply})
        await send({"type": "http.response.body", "body": reply.content})

    async def _respond_to_error(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond by the handler of the error's most specific class; raise the error where there is none."""
        handlers = (self._handlers[kind] for kind in type(error).__mro__ if kind in self._handlers)
        handler = next(handlers, None)
        if handler is None:
            raise error
        response = await handler(Request(scope), error)
        await response(scope, receive, send)
