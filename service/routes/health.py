"""GET /livez and /readyz."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response

from service.routes.dependencies import CurrentCatalog
from service.schemas import Health, ReadinessHealth

router = APIRouter(tags=["health"])


@router.get("/livez", operation_id="livez", responses={503: {"model": Health}})
async def livez() -> Health:
    """Answers while the process does."""
    return Health(status="alive")


@router.get("/readyz", operation_id="readyz", responses={503: {"model": ReadinessHealth}})
async def readyz(catalog: CurrentCatalog, request: Request, response: Response) -> ReadinessHealth:
    """Whether every required model is loaded and reproduces its golden values, and no batch is stuck.

    Names of missing models are shown only to callers with a valid key.
    """
    store: Literal["present", "away"] = "present" if catalog.store_away is None else "away"
    if catalog.ready:
        return ReadinessHealth(status="ready", store=store)
    response.status_code = 503
    stranger = getattr(request.state, "stranger", False)
    return ReadinessHealth(status="not ready", missing=[] if stranger else catalog.missing, store=store)
