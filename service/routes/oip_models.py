"""The Open Inference Protocol beside inference: health, models, the repository, statistics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from models_store.errors import shown
from service.errors import NotFound, Unparsable, WrongInput
from service.formats import bodies
from service.models.catalog import Catalog
from service.models.loading import Loaded
from service.oip import description
from service.oip.cache import cache_of
from service.routes.dependencies import CurrentCatalog
from service.routes.models import check_changeable
from service.routes.oip import MODEL, VERSION, current

MOST_BYTES = 2**16
"""Bytes of a request about the repository, which is parsed on the event loop."""

router = APIRouter(prefix="/v2", include_in_schema=False)

READY, UNAVAILABLE = "READY", "UNAVAILABLE"


# --- health -----------------------------------------------------------------------------------------------


@router.get("/health/live")
async def live() -> Response:
    """Answers 200, as ``/livez`` does."""
    return Response()


@router.get("/health/ready")
async def ready(catalog: CurrentCatalog) -> Response:
    """Answers 200 where ``/readyz`` does."""
    return Response(status_code=200 if catalog.ready else 503)


@router.get(f"{MODEL}/ready")
@router.get(f"{VERSION}/ready")
async def model_ready(catalog: CurrentCatalog, name: str, version: str | None = None) -> Response:
    """Answers 200 if the version is loaded."""
    current(catalog, name, version)
    return Response()


# --- metadata -----------------------------------------------------------------------------------------------


@router.get("")
async def server() -> Response:
    """Returns name, version and extensions of the service."""
    return JSONResponse(description.server())


@router.get("/models/stats")
async def statistics(catalog: CurrentCatalog) -> Response:
    """Returns the statistics of every loaded version."""
    return JSONResponse(statistics_of(everything(catalog)))


@router.get(f"{MODEL}/stats")
@router.get(f"{VERSION}/stats")
async def model_statistics(catalog: CurrentCatalog, name: str, version: str | None = None) -> Response:
    """Returns the statistics of one version, or of every loaded version of a model."""
    loaded = current(catalog, name, version)
    return JSONResponse(statistics_of([loaded] if version else catalog.versions[name].values()))


@router.get(MODEL)
@router.get(VERSION)
async def metadata(catalog: CurrentCatalog, name: str, version: str | None = None) -> Response:
    """Returns inputs and outputs of a model."""
    manifest = current(catalog, name, version).bundle.manifest
    return JSONResponse(description.metadata(manifest, catalog.versions[name]))


@router.get(f"{MODEL}/config")
@router.get(f"{VERSION}/config")
async def configuration(catalog: CurrentCatalog, name: str, version: str | None = None) -> Response:
    """Returns inputs and outputs as a model configuration of Triton."""
    manifest = current(catalog, name, version).bundle.manifest
    return JSONResponse(description.configuration(manifest, catalog.settings.max_rows))


# --- the repository --------------------------------------------------------------------------------------


@router.post("/repository/index")
async def index(request: Request, catalog: CurrentCatalog) -> Response:
    """Returns every version that the last refresh saw in the store, and whether it is loaded."""
    only_ready = (await _document(request, catalog)).get("ready", False)
    return JSONResponse([entry for entry in entries(catalog) if not only_ready or entry["state"] == READY])


def entries(catalog: Catalog) -> list[dict[str, str]]:
    """Returns an entry per version, newest first."""
    refused = {(one.model, one.version): one.reason for one in catalog.refused}
    entries = []
    for name in sorted({*catalog.published, *catalog.versions}):
        loaded = catalog.versions.get(name, {})
        for number in sorted({*catalog.published.get(name, []), *loaded}, reverse=True):
            ready = number in loaded
            reason = "" if ready else refused.get((name, number), "not loaded")
            entries.append(
                {
                    "name": name,
                    "version": str(number),
                    "state": READY if ready else UNAVAILABLE,
                    "reason": reason,
                }
            )
    return entries


@router.post("/repository/models/{name}/load")
async def load(request: Request, catalog: CurrentCatalog, name: str) -> Response:
    """Loads the newest version in the store."""
    check_changeable(catalog)
    check_no_parameters((await _document(request, catalog)).get("parameters", {}))
    await asyncio.to_thread(catalog.load, name)
    return Response()


def check_no_parameters(sent: Any) -> None:
    """Refuses parameters of a request to load a model.

    Raises:
        WrongInput: There are some.
    """
    if sent:
        raise WrongInput(
            f"a model is loaded as it was published; parameters are not supported, got {shown(sent)}"
        )


@router.post("/repository/models/{name}/unload")
async def unload(catalog: CurrentCatalog, name: str) -> Response:
    """Unloads all versions of a model."""
    check_changeable(catalog)
    await asyncio.to_thread(catalog.unload, name)
    return Response()


@router.api_route("/{path:path}", methods=["GET", "POST"])
async def unsupported(request: Request, path: str) -> Response:
    """Refuses all other paths, with the reason for those that the protocol or Triton define."""
    for part, reason in UNSUPPORTED.items():
        if part in path:
            raise NotFound(f"{request.method} /v2/{path}: {reason}")
    raise NotFound(f"{request.method} /v2/{path}: there is no such path")


UNSUPPORTED = {
    "sharedmemory": "shared memory is not supported; send tensors in the body",
    "trace/setting": "traces are not set here; requests can be followed by their X-Request-ID",
    "logging": "logging is not set here, but when the service is started",
    "generate": "there are no generative text models here; ask /models/NAME/generate",
}


async def _document(request: Request, catalog: Catalog) -> dict[str, Any]:
    """Reads the body as an object; it may be empty, and needs no content type."""
    limit = min(MOST_BYTES, catalog.settings.max_body_bytes)
    with request.state.deadlines.limit(request.receive):
        body = await bodies.read(request.receive, limit, catalog.budget)
    try:
        document = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise Unparsable(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise WrongInput(f"the body must be an object, got {shown(document)}")
    return document


def everything(catalog: Catalog) -> list[Loaded]:
    """Returns every loaded version."""
    return [loaded for versions in catalog.versions.values() for loaded in versions.values()]


def statistics_of(versions: Iterable[Loaded]) -> dict[str, Any]:
    """Returns the statistics of these versions as the extension defines them."""
    return {
        "model_stats": [
            cache_of(one).statistics.to_json(
                one.bundle.manifest.name,
                one.bundle.manifest.version,
                sum(queue.batches for queue in one.queues.values()),
            )
            for one in versions
        ]
    }
