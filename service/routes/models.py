"""GET /models: what is served, and what it is."""

from __future__ import annotations

from fastapi import APIRouter, Response

from models_store.manifest import Manifest
from service.errors import NotFound
from service.routes.common import ERRORS, CurrentCatalog, CurrentModel
from service.schemas import ModelEntry, ModelList, RefusedEntry

router = APIRouter(prefix="/models", tags=["models"], responses={404: ERRORS[404], 503: ERRORS[503]})

CARD = "report/card.md"


@router.get("", operation_id="list_models")
async def list_models(catalog: CurrentCatalog) -> ModelList:
    """The models that answer, and the stored versions that were refused, with the reason."""
    manifests = [loaded.bundle.manifest for loaded in catalog.loaded.values()]
    return ModelList(
        default=catalog.default,
        models=[
            ModelEntry(name=m.name, version=m.version, description=m.description, modalities=list(m.names))
            for m in manifests
        ],
        refused=[RefusedEntry(model=r.model, version=r.version, reason=r.reason) for r in catalog.refused],
    )


@router.get("/{name}", operation_id="get_model", response_model_exclude_none=True)
async def get_model(current: CurrentModel) -> Manifest:
    """The manifest: modalities with shapes, units and labels; where the model came from; what it measured."""
    return current.bundle.manifest


@router.get("/{name}/card", operation_id="get_card")
def get_card(current: CurrentModel) -> Response:
    """The model card, as Markdown."""
    if CARD not in current.bundle.manifest.files:
        raise NotFound(f"'{current.bundle.manifest.name}' has no card")
    return Response(current.bundle.read(CARD), media_type="text/markdown; charset=utf-8")


@router.get("/{name}/report/{file}", operation_id="get_report")
def get_report(current: CurrentModel, file: str) -> Response:
    """A file of the model's report, such as a picture that the card shows."""
    path = f"report/{file}"
    if path not in current.bundle.manifest.files:
        raise NotFound(f"'{current.bundle.manifest.name}' has no {path}")
    media = "image/png" if file.endswith(".png") else "text/plain; charset=utf-8"
    return Response(current.bundle.read(path), media_type=media)
