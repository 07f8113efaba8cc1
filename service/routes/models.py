"""/models: loaded models, their descriptions, and loading and unloading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ValidationError

from models_store import golden
from models_store.kinds import MEDIA
from models_store.manifest import Manifest
from service.errors import Conflict, Forbidden, NotFound
from service.formats import files, render
from service.http.response import JSON
from service.models.catalog import Catalog
from service.models.loading import Loaded
from service.openapi.errors import problem
from service.routes.dependencies import CurrentCatalog, CurrentModel
from service.schemas import (
    Examples,
    LatentMap,
    LoadedVersions,
    ModelEntry,
    ModelList,
    RefusedEntry,
    ValueOfViews,
)

router = APIRouter(prefix="/models", tags=["models"])

T = TypeVar("T")

CARD = "report/card.md"


class Markdown(Response):
    media_type = "text/markdown"


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: problem(status) for status in statuses}


MISSING = _problems(404, 503)
EXAMPLE = {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA}


def _json(value: BaseModel) -> Response:
    """Writes a value whose size a bundle decides, in the thread of its route."""
    return Response(value.model_dump_json(by_alias=True, exclude_none=True), media_type=JSON)


FILES = {
    "image/png": {"schema": {"type": "string", "format": "binary"}},
    "text/plain": {"schema": {"type": "string"}},
}


@router.get("", operation_id="list_models")
async def list_models(catalog: CurrentCatalog) -> ModelList:
    """The loaded models, and the stored versions that were refused, with the reason."""
    return ModelList(
        default=catalog.default,
        models=[
            ModelEntry(
                name=name,
                version=(newest := next(iter(versions.values())).bundle.manifest).version,
                versions=list(versions),
                description=newest.description,
                modalities=list(newest.names),
            )
            for name, versions in catalog.versions.items()
        ],
        refused=[RefusedEntry(model=r.model, version=r.version, reason=r.reason) for r in catalog.refused],
    )


@router.get("/{name}", operation_id="get_model", response_model=Manifest, responses=MISSING)
def get_model(current: CurrentModel) -> Response:
    """The manifest: modalities with shapes, units and labels; origin and measured quality of the model."""
    return _json(current.bundle.manifest)


@router.get("/{name}/card", operation_id="get_card", response_class=Markdown, responses=MISSING)
def get_card(current: CurrentModel) -> Markdown:
    """The model card, as Markdown."""
    if CARD not in current.bundle.manifest.files:
        raise NotFound(f"'{current.bundle.manifest.name}' has no card")
    return Markdown(current.bundle.read(CARD))


@router.get("/{name}/latent", operation_id="get_latent", response_model=LatentMap, responses=MISSING)
def get_latent(current: CurrentModel) -> Response:
    """A map of the latent space: two axes, their origin, and the held-out rows with their labels."""
    if (latent := current.model.latent) is None:
        raise NotFound(f"'{current.bundle.manifest.name}' has no map of its latent space")
    return Response(render.to_json(vars(latent.map)), media_type=JSON)


@router.get("/{name}/value", operation_id="get_value", response_model=ValueOfViews, responses=MISSING)
def get_value(current: CurrentModel) -> Response:
    """What each view adds to the predictions of each target, measured on held-out rows at training."""
    manifest = current.bundle.manifest
    try:
        return _json(ValueOfViews(targets=manifest.metrics["value"]))
    except (KeyError, ValidationError):  # an older version, or metrics of another program
        raise NotFound(
            f"'{manifest.name}' was published without the value of its views; "
            f"`anyview-train calibrate {manifest.name}` publishes a version that has it"
        ) from None


MOST_EXAMPLES = 64
"""Most examples that a bundle holds."""


async def _admitted(request: Request, current: Loaded, kind: str, function: Callable[[], T]) -> T:
    """Computes a response as one step among the long computations, unless these take too long already."""
    with request.state.deadlines.limit(request.receive) as deadline:
        deadline.uploaded = True
        with current.model.admission.computation(kind, 1, "examples") as computation:
            result = await computation.run(function)
            computation.advance(1)
            return result


@router.get("/{name}/examples", operation_id="get_examples", response_model=Examples, responses=MISSING)
async def get_examples(
    request: Request, current: CurrentModel, n_data: Annotated[int, Query(ge=1, le=MOST_EXAMPLES)] = 8
) -> Response:
    """The first examples of the bundle: rows kept out of training, or synthetic rows where it has none."""

    def content() -> bytes:
        values = golden.from_bytes(current.bundle.read(golden.FILE))
        return render.to_json({"inputs": golden.examples(current.bundle.manifest, values, n_data)})

    return Response(await _admitted(request, current, "examples", content), media_type=JSON)


@router.get(
    "/{name}/examples/{row}/{modality}",
    operation_id="get_example_file",
    response_class=Response,
    responses={200: {"description": "The file.", "content": EXAMPLE}, **MISSING},
)
async def get_example_file(
    request: Request, current: CurrentModel, row: Annotated[int, Path(ge=0)], modality: str
) -> Response:
    """A picture (PNG) or a sound (WAV, from its spectrogram) of an example."""
    kind = f"example of {current.bundle.manifest.name}: {modality}"
    media, content = await _admitted(request, current, kind, lambda: _example_file(current, row, modality))
    return Response(content, media_type=media)


def _example_file(current: Loaded, row: int, modality: str) -> tuple[str, bytes]:
    """Media type and content of an example.

    Raises:
        NotFound: There is none.
    """
    manifest = current.bundle.manifest
    values = golden.from_bytes(current.bundle.read(golden.FILE))
    held = golden.examples(manifest, values, MOST_EXAMPLES).get(modality, [])
    if row >= len(held) or (x := held[row]) is None:
        raise NotFound(
            f"'{manifest.name}' has no example {row} of '{modality}': there are {len(held)}, counted from 0, "
            "and some may lack a view"
        )
    file = files.example(manifest.modality(modality), x)
    if file is None:
        raise NotFound(
            f"a row of '{modality}' is no picture or sound; /models/{manifest.name}/examples has it"
        )
    return file


@router.get(
    "/{name}/report/{file}",
    operation_id="get_report",
    response_class=Response,
    responses={200: {"description": "The file.", "content": FILES}, **MISSING},
)
def get_report(current: CurrentModel, file: str) -> Response:
    """A file of the model's report, such as a figure of the card."""
    path = f"report/{file}"
    if path not in current.bundle.manifest.files:
        raise NotFound(f"'{current.bundle.manifest.name}' has no {path}")
    media = "image/png" if file.endswith(".png") else "text/plain; charset=utf-8"
    return Response(current.bundle.read(path), media_type=media)


CHANGES = _problems(403, 404, 409, 422, 503)


@router.post("/{name}/load", operation_id="load_model", responses=CHANGES)
async def load_model(
    catalog: CurrentCatalog, name: str, version: Annotated[int | None, Query(ge=1)] = None
) -> LoadedVersions:
    """Loads a stored version beside the others, or the newest; tries again a version that was refused."""
    check_changeable(catalog)
    return LoadedVersions(model=name, versions=await asyncio.to_thread(catalog.load, name, version))


@router.post("/{name}/unload", operation_id="unload_model", responses=CHANGES)
async def unload_model(
    catalog: CurrentCatalog, name: str, version: Annotated[int | None, Query(ge=1)] = None
) -> LoadedVersions:
    """Unloads a version, or the whole model, until it is loaded again; running requests are answered."""
    check_changeable(catalog)
    return LoadedVersions(model=name, versions=await asyncio.to_thread(catalog.unload, name, version))


def check_changeable(catalog: Catalog) -> None:
    """Checks that models may be loaded and unloaded by requests.

    Raises:
        Forbidden: The settings do not allow it.
        Conflict: There are several processes, and only one would do it.
    """
    if not catalog.settings.allow_loading:
        raise Forbidden(
            "the store alone decides which models are loaded: "
            "--allow-loading (ANYVIEW_ALLOW_LOADING) is not set"
        )
    if catalog.settings.workers > 1:
        raise Conflict(
            "the store alone decides which models are loaded: "
            f"there are {catalog.settings.workers} worker processes"
        )
