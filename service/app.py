"""Joins the parts, and says which error becomes which status."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypedDict

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models_store.errors import BundleRefused, StoreAway, shown
from service.batching import GraphFailed
from service.catalog import Catalog
from service.errors import (
    ClientLeft,
    Conflict,
    Forbidden,
    NotAcceptable,
    NotFound,
    NotReady,
    PastDeadline,
    Refusal,
    TooBusy,
    TooLarge,
    TooSlow,
    UnknownMediaType,
    Unparsable,
    WrongInput,
)
from service.lifecycle import delayed_sigterm
from service.routes import health, models, questions
from service.routes.direct import Direct, Handler
from service.routes.lifetimes import Lifetimes
from service.schemas import Problem
from service.settings import Settings
from service.watching import Watcher
from service.workers import WorkerLost

log = logging.getLogger("anyview")

STATUS: dict[type[Refusal], HTTPStatus] = {
    Unparsable: HTTPStatus.BAD_REQUEST,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    Conflict: HTTPStatus.CONFLICT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnknownMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    WrongInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    TooBusy: HTTPStatus.TOO_MANY_REQUESTS,
    NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    PastDeadline: HTTPStatus.SERVICE_UNAVAILABLE,
    ClientLeft: HTTPStatus.BAD_REQUEST,
}


class State(TypedDict):
    """What every request finds in ``request.state``."""

    catalog: Catalog
    lifetimes: Lifetimes


def create_app(settings: Settings, catalog_of: Callable[[Settings], Catalog] = Catalog) -> FastAPI:
    """The service.

    Arguments:
        settings: Everything that it depends on.
        catalog_of: Makes the catalog that it answers from.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        catalog = catalog_of(settings)
        await asyncio.to_thread(catalog.refresh)
        try:
            with (
                delayed_sigterm(catalog.drain, settings.grace_seconds),
                Watcher(catalog.refresh, settings.poll_seconds),
            ):
                yield {"catalog": catalog, "lifetimes": Lifetimes(settings.deadline_seconds)}
        finally:
            catalog.close()

    app = FastAPIOffline(
        title="AnyView",
        description="Any view in, any view out: send whatever modalities you have, get the others.",
        version="0.1.0",
        lifespan=lifespan,
        redoc_url=None,
    )
    routers = (questions.router, models.router, health.router)
    for router in routers:
        app.include_router(router)
    handlers: dict[type[Exception], Handler] = {
        Refusal: _on_refusal,
        RequestValidationError: _on_invalid,
        HTTPException: _on_http,
        BundleRefused: _on_unavailable,
        StoreAway: _on_unavailable,
        WorkerLost: _on_unavailable,
        GraphFailed: _on_bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    app.add_exception_handler(Exception, _on_bug)
    # What is added first is innermost: whatever stands around the framework stands around questions too.
    app.add_middleware(Direct, [route for router in routers for route in router.routes], handlers)
    app.add_middleware(RequestId)
    return app


def worker() -> FastAPI:
    """The service in one of several processes, which have their settings from the environment."""
    return create_app(Settings())


class RequestId:
    """Gives every request an id, its own ``X-Request-ID`` if it brings one, and sends it back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        brought = dict(scope["headers"]).get(b"x-request-id", b"")
        printable = 0 < len(brought) <= 128 and brought.isascii() and brought.decode("ascii").isprintable()
        request_id = brought if printable else uuid.uuid4().hex.encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        await self._app(scope, receive, send_with_id)


def _problem(request: Request, status: HTTPStatus, detail: str, headers: Any = None) -> Response:
    problem = Problem(
        title=status.phrase,
        status=status,
        detail=detail,
        error=detail,
        request_id=request.state.request_id,
    )
    return Response(problem.model_dump_json(), status, headers, media_type="application/problem+json")


async def _on_refusal(request: Request, error: Exception) -> Response:
    headers = {"Retry-After": str(error.seconds)} if isinstance(error, TooBusy) else None
    return _problem(request, STATUS[type(error)], str(error), headers)  # type: ignore[index]  # it is a Refusal


async def _on_invalid(request: Request, error: Exception) -> Response:
    errors: Sequence[Any] = error.errors() if isinstance(error, RequestValidationError) else []
    return _problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(map(_sentence, errors)))


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return _problem(request, HTTPStatus(error.status_code), detail, error.headers)


async def _on_unavailable(request: Request, error: Exception) -> Response:
    return _problem(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error))


async def _on_bug(request: Request, error: Exception) -> Response:
    log.exception("request %s failed", request.state.request_id, exc_info=error)
    detail = "the service failed; its log has the reason under this request_id"
    return _problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def _sentence(error: Any) -> str:
    """One validation error: where, what is wrong, what came."""
    where = " ".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown parameter '{error['loc'][-1]}'"
    return f"{where}: {error['msg']}, got {shown(error['input'])}"
