"""GET /livez and /readyz."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service.routes.common import CurrentCatalog
from service.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/livez", operation_id="livez")
async def livez() -> Health:
    """The process answers."""
    return Health(status="alive")


@router.get("/readyz", operation_id="readyz", responses={503: {"model": Health}})
async def readyz(catalog: CurrentCatalog, response: Response) -> Health:
    """Every model that is wanted is loaded, and answers as it did when it was published."""
    if catalog.ready:
        return Health(status="ready")
    response.status_code = 503
    return Health(status="not ready", missing=catalog.missing)
