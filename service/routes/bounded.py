"""What bounds a question: it is let in or not, has a deadline, and ends when its client hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from service.catalog import Catalog
from service.errors import ClientLeft, PastDeadline, TooSlow

UNWATCHED_SECONDS = 0.05
"""Most questions are answered sooner than it pays to watch whether their client is still there."""


class Bounded(APIRoute):
    """A route whose question costs nothing once nobody waits for its answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            catalog: Catalog = request.state.catalog
            catalog.admit()
            async with Lifetime(request, catalog.settings.deadline_seconds) as lifetime:
                request.state.lifetime = lifetime
                response = await answer(request)
            if catalog.draining:
                response.headers["connection"] = "close"  # the client comes again, to somebody who stays
            return response

        return bounded


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
        await self._request.receive()
        self._left = True
        self._timeout.reschedule(asyncio.get_running_loop().time())
