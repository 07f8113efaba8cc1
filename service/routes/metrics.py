"""GET /metrics, for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from service.models.catalog import Catalog
from service.routes.dependencies import CurrentCatalog
from service.telemetry.metrics import Metrics

router = APIRouter(tags=["health"])

REFRESH_SECONDS = 2.0


@router.get("/metrics", operation_id="metrics", response_class=PlainTextResponse)
async def expose(request: Request, catalog: CurrentCatalog) -> Response:
    """Metrics for Prometheus; as OpenMetrics, with ids of slow requests, where Accept allows it."""
    metrics: Metrics = request.state.metrics
    _refresh(metrics, catalog)
    text, media = metrics.expose(request.headers.get("accept", ""))
    return Response(text, headers={"content-type": media})


@contextmanager
def kept_fresh(metrics: Metrics, catalog: Catalog) -> Iterator[None]:
    """Refreshes the gauges of this process, where another of several processes may be scraped for all."""

    async def refresh_repeatedly() -> None:
        while True:
            _refresh(metrics, catalog)
            await asyncio.sleep(REFRESH_SECONDS)

    task = asyncio.create_task(refresh_repeatedly()) if metrics.together else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


def _refresh(metrics: Metrics, catalog: Catalog) -> None:
    versions = [(name, number) for name, numbers in catalog.versions.items() for number in numbers]
    metrics.refresh(versions, len(catalog.refused), catalog.ready, catalog.store_away is not None)
