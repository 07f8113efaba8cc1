"""The ASGI 3 application around the framework, for any server that sends lifespan events."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from service.http.problems import problem
from service.settings import Settings

log = logging.getLogger("anyview")

CLOSING_SECONDS = 0.2
"""Time to send the last responses."""
NOT_STARTED = (
    "the service has not started: its server sends no lifespan events, or another application that it is "
    "mounted in does not pass them on"
)


class Application:
    """The service as an ASGI 3 application that carries its own state.

    It keeps what its lifespan yields and adds it to the scope of each request, since not every server does.
    The shutdown waits for requests in progress. Neither depends on the thread that runs the event loop.

    Arguments:
        create: Creates the framework's application, whose ``middleware_stack`` receives the HTTP requests.
        read_settings: Returns the settings. Called at startup, so that importing the application reads none.
    """

    def __init__(
        self, create: Callable[[Settings], FastAPI], read_settings: Callable[[], Settings] = Settings
    ) -> None:
        self._create = create
        self._read_settings = read_settings
        self._framework: FastAPI | None = None
        self._root_path = ""
        self._state: dict[str, Any] = {}
        self._in_progress = 0
        self._all_answered = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        app = self._framework
        if app is None:
            await _refuse(scope, receive, send)
            return
        scope["app"] = app
        scope["state"] = {**scope.get("state", {}), **self._state}
        if self._root_path and not scope.get("root_path"):
            scope["root_path"] = self._root_path
        self._in_progress += 1
        try:
            answer = app.middleware_stack if scope["type"] == "http" else app
            await answer(scope, receive, send)  # type: ignore[misc]  # create_app has made the stack
        finally:
            self._in_progress -= 1
            if not self._in_progress:
                self._all_answered.set()

    async def _live(self, receive: Receive, send: Send) -> None:
        """Starts the service, and ends it when the server stops; an error is reported to the server."""
        phase = "startup"
        await receive()
        try:
            settings = self._read_settings()
            app = self._create(settings)
            async with app.router.lifespan_context(app) as state:
                self._framework, self._state = app, dict(state or {})
                self._root_path = settings.root_path or ""
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
                await self._wait_for_requests(self._state["deadlines"].end_within(settings.finish_seconds))
                self._framework = None
        except Exception:
            await send({"type": f"lifespan.{phase}.failed", "message": traceback.format_exc()})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _wait_for_requests(self, seconds: float) -> None:
        """Waits until no request is in progress, at most until they have ended and their answers are sent."""
        self._all_answered.clear()
        if self._in_progress:
            try:
                await asyncio.wait_for(self._all_answered.wait(), seconds + CLOSING_SECONDS)
            except TimeoutError:
                log.warning("the server stops while %d requests are in progress", self._in_progress)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request that no application can answer."""
    if scope["type"] != "http":
        await send({"type": "websocket.close", "code": 1011})
        return
    await problem(HTTPStatus.SERVICE_UNAVAILABLE, NOT_STARTED, uuid4().hex)(scope, receive, send)
