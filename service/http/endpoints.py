"""Past the framework, whose router and response objects take longer than the graph of a small encoder.

A route for a question is registered like any other, so that FastAPI documents it and refuses other methods. A
POST to it is answered here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.formats.render import CLOSE, Reply
from service.http.deadlines import Lifetimes
from service.models.catalog import Catalog
from service.telemetry.context import Exchange

Handler: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]


class Arrival(NamedTuple):
    """A question as it came.

    Arguments:
        scope: What the server says of it.
        receive: Where its body comes from.
        parameters: Of its path.
        headers: By name in small letters; of one that was sent twice, the last.
    """

    scope: Scope
    receive: Receive
    parameters: Mapping[str, str]
    headers: Mapping[bytes, bytes]

    @property
    def catalog(self) -> Catalog:
        catalog: Catalog = self.scope["state"]["catalog"]
        return catalog

    @property
    def exchange(self) -> Exchange:
        exchange: Exchange = self.scope["state"]["exchange"]
        return exchange

    @property
    def lifetimes(self) -> Lifetimes:
        lifetimes: Lifetimes = self.scope["state"]["lifetimes"]
        return lifetimes

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin1")


class DirectRoute(APIRoute, ABC):
    """A route that answers an arrival with a reply; its endpoint's signature is for the documentation."""

    @abstractmethod
    def answer(self, arrival: Arrival) -> Awaitable[Reply]:
        """The reply; what it raises is told by the handler of its class."""


class Direct:
    """Answers direct routes, and leaves everything else to the framework.

    Arguments:
        app: The framework.
        routes: Those that are answered here.
        handlers: By class of error, what says it to the client.
    """

    def __init__(
        self, app: ASGIApp, routes: Iterable[Any], handlers: Mapping[type[Exception], Handler]
    ) -> None:
        direct = [route for route in routes if isinstance(route, DirectRoute)]
        self._app = app
        self._handlers = handlers

        def find(path: str) -> tuple[DirectRoute, dict[str, str]] | None:
            matches = ((route, route.path_regex.match(path)) for route in direct)
            return next(((route, match.groupdict()) for route, match in matches if match), None)

        self._find = lru_cache(maxsize=256)(find)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope["path"]) if scope.get("method") == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        route, parameters = found
        scope["route"] = route
        try:
            reply = await route.answer(Arrival(scope, receive, parameters, dict(scope["headers"])))
        except Exception as error:
            kinds = (kind for kind in type(error).__mro__ if kind in self._handlers)
            if (kind := next(kinds, None)) is None:
                raise
            response = await self._handlers[kind](Request(scope), error)
            await response(scope, receive, send)
            return
        draining = scope["state"]["catalog"].draining
        await (reply.with_headers(CLOSE) if draining else reply).send(send)
