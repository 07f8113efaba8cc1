"""GET /livez and /readyz."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.routes.dependencies import CurrentCatalog
from service.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/livez", operation_id="livez", responses={503: {"model": Health}})
async def livez(catalog: CurrentCatalog, response: Response) -> Health:
    """The process answers, and has threads that compute; if not, only a restart helps."""
    if catalog.alive:
        return Health(status="alive")
    response.status_code = 503
    return Health(status="dead")


@router.get("/readyz", operation_id="readyz", responses={503: {"model": Health}})
async def readyz(catalog: CurrentCatalog, request: Request, response: Response) -> Health:
    """Every wanted model is loaded and answered as when published; all threads work, and no batch hangs.

    Which one is missing is told to those who may know which there are.
    """
    if catalog.ready:
        return Health(status="ready")
    response.status_code = 503
    stranger = getattr(request.state, "stranger", False)
    return Health(status="not ready", missing=[] if stranger else catalog.missing)
