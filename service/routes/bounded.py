"""What bounds a question: it is let in or not, has a deadline, and ends when its client hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from inspect import signature
from typing import Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect

from service import bodies
from service.catalog import Catalog
from service.errors import ClientLeft, PastDeadline, TooSlow
from service.workers import aside

UNWATCHED_SECONDS = 0.05
"""Most questions are answered sooner than it pays to watch whether their client is still there."""


class Bounded(APIRoute):
    """A route for a question: ``endpoint(request, observed, current, query)``.

    FastAPI reads the signature for /openapi.json. To answer, the four are put together here rather than by
    its dependency injection, which takes longer than the graph of a small encoder.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        query_type, _ = get_args(signature(self.endpoint, eval_str=True).parameters["query"].annotation)

        async def bounded(request: Request) -> Response:
            catalog: Catalog = request.state.catalog
            catalog.admit()
            async with Lifetime(request, catalog.settings.deadline_seconds) as lifetime:
                query = _query(query_type, request.query_params)
                current = catalog.get(request.path_params.get("name"), query.version)
                limit, content_type = catalog.settings.max_body_bytes, request.headers.get("content-type")
                body = await bodies.read(request.stream(), limit)
                lifetime.uploaded()
                observed = await aside(len(body), bodies.parse, current.model, content_type, body, limit)
                catalog.admit()  # others may have come meanwhile
                response: Response = await self.endpoint(request, observed, current, query)
            if catalog.draining:
                response.headers["connection"] = "close"  # the client comes again, to somebody who stays
            return response

        return bounded


def _query(kind: type[Any], sent: QueryParams) -> Any:
    """The parameters that were sent; of those that are no lists, the last.

    Raises:
        RequestValidationError: One is unknown, or has a value that it cannot have.
    """
    values: dict[str, Any] = {}
    for name, value in sent.multi_items():
        if name in kind.model_fields and get_origin(kind.model_fields[name].annotation) is list:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in found]) from None


class Lifetime:
    """Cancels what happens inside at the deadline, or when the client hangs up, and says which it was.

    Arguments:
        request: Whose client it is.
        seconds: Until the deadline.
    """

    def __init__(self, request: Request, seconds: float) -> None:
        self._request = request
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)
        self._uploaded = self._left = False
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None

    def uploaded(self) -> None:
        """The body is complete: the only message that can still come is that the client has left."""
        self._uploaded = True
        self._timer = asyncio.get_running_loop().call_later(UNWATCHED_SECONDS, self._start_watching)

    async def __aenter__(self) -> Lifetime:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._reason() from None
        if isinstance(error, ClientDisconnect):
            raise ClientLeft("the client hung up before its body was complete") from None

    def _reason(self) -> Exception:
        if self._left:
            return ClientLeft("the client hung up before it had its answer")
        if self._uploaded:
            return PastDeadline(f"no answer within the {self._seconds:g} s that a question may take")
        return TooSlow(f"the body was not complete within the {self._seconds:g} s that a question may take")

    def _start_watching(self) -> None:
        self._watch = asyncio.create_task(self._watching())

    async def _watching(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._left = True
        self._timeout.reschedule(asyncio.get_running_loop().time())
