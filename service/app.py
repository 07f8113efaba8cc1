"""The application: joins the parts, and maps errors to status codes."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, TypedDict

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from models_store.errors import BundleRefused, StoreAway
from service import grpc
from service.engine.budget import keep_large_blocks_apart
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
    invalid_parameters,
)
from service.http.application import Application
from service.http.deadlines import Deadlines
from service.http.edge import Edge
from service.http.endpoints import EndpointTable, ErrorHandler
from service.http.forwarded import Proxies
from service.http.lifecycle import delayed_sigterm
from service.http.problems import problem, type_of
from service.http.security import KeyDigests, Keys, Origins
from service.models.catalog import Catalog
from service.models.sandbox import end_with_parent
from service.models.watching import Watcher, collect_seldom
from service.openapi import describe
from service.routes import health, inference, models, oip, oip_models, page
from service.routes import metrics as metrics_route
from service.routes.documentation import add_documentation
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
    """Fields of ``request.state``."""

    catalog: Catalog
    deadlines: Deadlines
    metrics: Metrics


def create_app(
    settings: Settings,
    catalog_of: Callable[[Settings], Catalog] = Catalog,
    tracer_of: Callable[[str | None], Tracer | None] = tracer_to,
) -> FastAPI:
    """Creates the application.

    Arguments:
        settings: Settings of the service.
        catalog_of: Creates the catalog of models.
        tracer_of: Creates the tracer for the address of a collector; None: no traces.
    """
    metrics, tracer = Metrics(), tracer_of(settings.trace_endpoint)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        catalog = catalog_of(settings)
        app.openapi = lambda: described(app, catalog)  # type: ignore[method-assign]  # documented by FastAPI
        async with _serving(catalog, settings, metrics, tracer) as state:
            yield state

    app = FastAPI(
        title="AnyView",
        description="Any view in, any view out: send the modalities that you have, get the others.",
        version=version("anyview"),
        lifespan=lifespan,
        openapi_url=None,  # documentation adds it, with the prefix of a proxy
        redirect_slashes=False,  # a redirect would have the wrong address behind a proxy
        # Edge writes the traces; FastAPI's own tracing would read its settings in every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    proxies = Proxies(settings.trusted_proxies)
    add_documentation(app, proxies)
    for router in ROUTERS:
        app.include_router(router)
    handlers = _handlers()
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    app.add_exception_handler(Exception, _raise)
    endpoints = (*inference.ENDPOINTS, *oip.ENDPOINTS)
    table = EndpointTable(app.build_middleware_stack(), endpoints, handlers)
    # These layers stand around the framework, since each layer within it adds its cost to every request.
    app.middleware_stack = Edge(_protected(table, settings, proxies), metrics, tracer)
    return app


@asynccontextmanager
async def _serving(
    catalog: Catalog, settings: Settings, metrics: Metrics, tracer: Tracer | None
) -> AsyncIterator[State]:
    """Loads the catalog and keeps it up to date until the service ends."""
    keep_large_blocks_apart()
    catalog.watch = metrics.watch
    await asyncio.to_thread(catalog.refresh)
    deadlines = Deadlines(settings.deadline_seconds)
    finish = partial(deadlines.end_within, settings.finish_seconds)
    try:
        with (
            delayed_sigterm(catalog.drain, settings.grace_seconds, finish),
            Watcher(catalog.poll, settings.poll_seconds) as watcher,
            metrics_route.kept_fresh(metrics, catalog),
        ):
            catalog.trials.call_back(watcher.wake)
            async with _serving_grpc(settings, catalog, deadlines, metrics, tracer):
                yield {"catalog": catalog, "deadlines": deadlines, "metrics": metrics}
    finally:
        catalog.close()
        if tracer is not None:
            await asyncio.to_thread(tracer.close)


@asynccontextmanager
async def _serving_grpc(
    settings: Settings, catalog: Catalog, deadlines: Deadlines, metrics: Metrics, tracer: Tracer | None
) -> AsyncIterator[None]:
    """Serves gRPC as well, if its port is set; it is imported only then."""
    if settings.grpc_port is None:
        yield
        return
    grpc.check(settings)
    from service.grpc import server
    from service.grpc.calls import Calls

    keys = KeyDigests(settings.check_keys()) if settings.check_keys() else None
    async with server.serving(settings, Calls(catalog, deadlines, metrics, tracer, keys)):
        yield


def _handlers() -> dict[type[Exception], ErrorHandler]:
    """Returns the functions that write error responses, by class of error."""
    return {
        Refusal: _on_refusal,
        RequestValidationError: _on_invalid,
        HTTPException: _on_http,
        BundleRefused: _on_unavailable,
        StoreAway: _on_unavailable,
    }


def _protected(app: ASGIApp, settings: Settings, proxies: Proxies) -> ASGIApp:
    """Puts the check of keys before the app, or of host names where no keys are set; and CORS before both."""
    if keys := settings.check_keys():
        app = Keys(app, keys)
    else:
        app = Origins(app, settings.allowed_hosts, settings.cors_origins, proxies)
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
    """Returns the OpenAPI document, with the modalities of the loaded models."""
    manifests = {name: loaded.bundle.manifest for name, loaded in catalog.loaded.items()}
    default = manifests.get(catalog.default) if catalog.default else None
    loaded_models = ([(manifest.name, manifest.version) for manifest in manifests.values()], catalog.default)
    described_models, document = getattr(app.state, "described", (None, {}))
    if described_models != loaded_models:  # it takes longer than an inference request
        keyed = catalog.settings.api_keys or catalog.settings.api_keys_file
        root_path = catalog.settings.root_path or ""
        document = describe(FastAPI.openapi(app), list(manifests.values()), default, bool(keyed), root_path)
        app.state.described = (loaded_models, document)
    return dict(document)


def served(settings: Settings) -> Application:
    """Returns the service with these settings as an ASGI 3 application."""
    return Application(_created, lambda: settings)


def _created(settings: Settings) -> FastAPI:
    collect_seldom()
    if multiprocessing.parent_process() is not None:  # a worker
        end_with_parent(signal.SIGINT)
    return create_app(settings)


app = Application(_created)
"""The service for any ASGI server, such as ``uvicorn service.app:app``; its settings are read from the
environment when the server starts it."""


async def _raise(_request: Request, error: Exception) -> Response:
    """Passes an unexpected error to ``Edge``, which logs and answers it."""
    raise error


async def _on_refusal(request: Request, error: Exception) -> Response:
    headers: dict[str, str] | None = None
    if isinstance(error, TooBusy):
        headers = {"Retry-After": str(error.seconds)}
    if isinstance(error, UnknownCoding):
        headers = {"Accept-Encoding": ", ".join(error.codings)}
    if not isinstance(error, Refusal):
        raise error
    return problem(STATUS[type(error)], str(error), request.state.request_id, headers, type_of(error))


async def _on_invalid(request: Request, error: Exception) -> Response:
    errors: Sequence[Any] = error.errors() if isinstance(error, RequestValidationError) else []
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, invalid_parameters(errors), request.state.request_id)


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    reason = {
        HTTPStatus.NOT_FOUND: "there is no such path",
        HTTPStatus.METHOD_NOT_ALLOWED: f"this path takes {(error.headers or {}).get('Allow')}",
    }.get(HTTPStatus(error.status_code), error.detail)
    detail = f"{request.method} {request.url.path}: {reason}"
    return problem(HTTPStatus(error.status_code), detail, request.state.request_id, error.headers)


async def _on_unavailable(request: Request, error: Exception) -> Response:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), request.state.request_id)
