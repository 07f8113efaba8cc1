"""GET /livez and /readyz."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.routes.dependencies import CurrentCatalog
from service.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/livez", operation_id="livez", responses={503: {"model": Health}})
async def livez() -> Health:
    """Answers while the process does."""
    return Health(status="alive")


@router.get("/readyz", operation_id="readyz", responses={503: {"model": Health}})
async def readyz(catalog: CurrentCatalog, request: Request, response: Response) -> Health:
    """Whether every required model is loaded and reproduces its golden values, and no batch is stuck.

    Names of missing models are shown only to callers with a valid key.
    """
    if catalog.ready:
        return Health(status="ready")
    response.status_code = 503
    stranger = getattr(request.state, "stranger", False)
    return Health(status="not ready", missing=[] if stranger else catalog.missing)
