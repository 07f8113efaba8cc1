"""Values that the framework passes to several routes: the catalog, and the model."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from service.models.catalog import Catalog
from service.models.loading import Loaded


async def _catalog(request: Request) -> Catalog:
    catalog: Catalog = request.state.catalog
    return catalog


CurrentCatalog = Annotated[Catalog, Depends(_catalog)]


async def _loaded(
    catalog: CurrentCatalog, name: str | None = None, version: Annotated[int | None, Query(ge=1)] = None
) -> Loaded:
    return catalog.get(name, version)


CurrentModel = Annotated[Loaded, Depends(_loaded)]
