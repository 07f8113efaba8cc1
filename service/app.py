"""Joins the parts, and says which error becomes which status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypedDict

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from models_store.errors import BundleRefused, StoreAway, shown
from service.engine.workers import WorkerLost
from service.errors import (
    ClientDisconnected,
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
    UnknownCoding,
    UnknownMediaType,
    Unparsable,
    WrongInput,
)
from service.http.deadlines import Deadlines
from service.http.edge import Edge
from service.http.endpoints import EndpointTable, ErrorHandler
from service.http.lifecycle import delayed_sigterm
from service.http.origins import Origins
from service.http.problems import problem
from service.http.security import Keys
from service.models import memory
from service.models.catalog import Catalog
from service.models.watching import Watcher
from service.openapi import describe
from service.routes import health, inference, models, oip, oip_models, page
from service.routes import metrics as metrics_route
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracer, tracer_to

STATUS: dict[type[Refusal], HTTPStatus] = {
    Unparsable: HTTPStatus.BAD_REQUEST,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    Conflict: HTTPStatus.CONFLICT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnknownMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnknownCoding: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    WrongInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    TooBusy: HTTPStatus.TOO_MANY_REQUESTS,
    NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    PastDeadline: HTTPStatus.SERVICE_UNAVAILABLE,
    ClientDisconnected: HTTPStatus.BAD_REQUEST,
}

ROUTERS = (
    models.router,
    health.router,
    page.router,
    metrics_route.router,
    oip_models.router,
)


class State(TypedDict):
    """What every request finds in ``request.state``."""

    catalog: Catalog
    deadlines: Deadlines
    metrics: Metrics


def create_app(
    settings: Settings,
    catalog_of: Callable[[Settings], Catalog] = Catalog,
    tracer_of: Callable[[str | None], Tracer | None] = tracer_to,
) -> FastAPI:
    """The service.

    Arguments:
        settings: Everything that it depends on.
        catalog_of: Makes the catalog that it answers from.
        tracer_of: Makes what sends traces to an endpoint.
    """
    metrics, tracer = Metrics(), tracer_of(settings.trace_endpoint)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        catalog = catalog_of(settings)
        app.openapi = lambda: described(app, catalog)  # type: ignore[method-assign]  # as FastAPI wants it
        async with _serving(catalog, settings, metrics, tracer) as state:
            yield state

    app = FastAPIOffline(
        title="AnyView",
        description="Any view in, any view out: send whatever modalities you have, get the others.",
        version="0.1.0",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy the address would be wrong
        # Traces are the edge's; FastAPI's own would look for their settings in every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in ROUTERS:
        app.include_router(router)
    handlers = _handlers()
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    app.add_exception_handler(Exception, _to_the_edge)
    endpoints = (*inference.ENDPOINTS, *oip.ENDPOINTS)
    table = EndpointTable(app.build_middleware_stack(), endpoints, handlers, _is_draining)
    # Around the framework, not within it: each of its own layers would cost every question.
    app.middleware_stack = Edge(_protected(table, settings), metrics, tracer)
    return app


@asynccontextmanager
async def _serving(
    catalog: Catalog, settings: Settings, metrics: Metrics, tracer: Tracer | None
) -> AsyncIterator[State]:
    """The catalog loaded and kept fresh, from the start of the service to its end."""
    catalog.watch = metrics.watch
    await asyncio.to_thread(catalog.refresh)
    try:
        with (
            delayed_sigterm(catalog.drain, settings.grace_seconds),
            Watcher(catalog.refresh, settings.poll_seconds),
            metrics_route.kept_fresh(metrics, catalog),
        ):
            deadlines = Deadlines(settings.deadline_seconds)
            yield {"catalog": catalog, "deadlines": deadlines, "metrics": metrics}
    finally:
        catalog.close()
        if tracer is not None:
            await asyncio.to_thread(tracer.close)


def _is_draining(state: Mapping[str, Any]) -> bool:
    catalog: Catalog = state["catalog"]
    return catalog.draining


def _handlers() -> dict[type[Exception], ErrorHandler]:
    """By class of error, what says it to the client."""
    return {
        Refusal: _on_refusal,
        RequestValidationError: _on_invalid,
        HTTPException: _on_http,
        BundleRefused: _on_unavailable,
        StoreAway: _on_unavailable,
        WorkerLost: _on_unavailable,
    }


def _protected(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The app behind keys, or behind the check of host names where there are none; CORS outside of it."""
    if keys := settings.check_keys():
        app = Keys(app, keys)
    else:
        app = Origins(app, settings.allowed_hosts, settings.cors_origins)
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "X-Seed", "Server-Timing", "Retry-After"],
        )
    return app


def described(app: FastAPI, catalog: Catalog) -> dict[str, Any]:
    """OpenAPI of the service as it stands, with the modalities of the models that are loaded."""
    manifests = {name: loaded.bundle.manifest for name, loaded in catalog.loaded.items()}
    default = manifests.get(catalog.default) if catalog.default else None
    of = ([(manifest.name, manifest.version) for manifest in manifests.values()], catalog.default)
    known, document = getattr(app.state, "described", (None, {}))
    if known != of:  # to make it takes longer than a question
        keyed = catalog.settings.api_keys or catalog.settings.api_keys_file
        document = describe(FastAPI.openapi(app), list(manifests.values()), default, bool(keyed))
        app.state.described = (of, document)
    return dict(document)


def served(settings: Settings) -> ASGIApp:
    """The service as a server runs it: a request passes nothing of the framework that it does not need."""
    memory.collect_seldom()
    app = create_app(settings)

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope["app"] = app
        answer = app.middleware_stack if scope["type"] == "http" else app
        return answer(scope, receive, send)  # type: ignore[misc]  # create_app has made the stack

    return serve


def worker() -> ASGIApp:
    """The same in one of several processes, which have their settings from the environment."""
    return served(Settings())


async def _to_the_edge(_request: Request, error: Exception) -> Response:
    """What nobody expected is answered where every answer passes, and logged there."""
    raise error


async def _on_refusal(request: Request, error: Exception) -> Response:
    headers: dict[str, str] | None = None
    if isinstance(error, TooBusy):
        headers = {"Retry-After": str(error.seconds)}
    if isinstance(error, UnknownCoding):
        headers = {"Accept-Encoding": ", ".join(error.codings)}
    status = STATUS[type(error)]  # type: ignore[index]  # it is a Refusal
    return problem(status, str(error), request.state.request_id, headers)


async def _on_invalid(request: Request, error: Exception) -> Response:
    errors: Sequence[Any] = error.errors() if isinstance(error, RequestValidationError) else []
    detail = "; ".join(map(_sentence, errors))
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, request.state.request_id)


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    told = {
        HTTPStatus.NOT_FOUND: "there is no such path",
        HTTPStatus.METHOD_NOT_ALLOWED: f"this path takes {(error.headers or {}).get('Allow')}",
    }.get(HTTPStatus(error.status_code), error.detail)
    detail = f"{request.method} {request.url.path}: {told}"
    return problem(HTTPStatus(error.status_code), detail, request.state.request_id, error.headers)


async def _on_unavailable(request: Request, error: Exception) -> Response:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), request.state.request_id)


def _sentence(error: Any) -> str:
    """One validation error: where, what is wrong, what came."""
    where = " ".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown parameter '{error['loc'][-1]}'"
    return f"{where}: {error['msg']}, got {shown(error['input'])}"
