"""Values that several routes take from a request: the catalog, the model, rows and seed."""

from __future__ import annotations

import random
from typing import Annotated, Protocol

from fastapi import Depends, Query, Request
from starlette.types import Scope

from service.engine.observations import Observations
from service.errors import WrongInput
from service.models.catalog import Catalog
from service.models.loading import Loaded


def catalog_of(scope: Scope) -> Catalog:
    """Return the catalog of the service that received the request."""
    catalog: Catalog = scope["state"]["catalog"]
    return catalog


async def _catalog(request: Request) -> Catalog:
    return catalog_of(request.scope)


CurrentCatalog = Annotated[Catalog, Depends(_catalog)]


async def _loaded(
    catalog: CurrentCatalog, name: str | None = None, version: Annotated[int | None, Query(ge=1)] = None
) -> Loaded:
    return catalog.get(name, version)


CurrentModel = Annotated[Loaded, Depends(_loaded)]


class _Seeded(Protocol):
    @property
    def seed(self) -> int | None: ...


class _Conditioned(Protocol):
    @property
    def cond_mod(self) -> list[str]: ...
    @property
    def n_data(self) -> int | None: ...


def rows_of(observations: Observations, query: _Conditioned) -> Observations:
    """Return the observations; for ``cond_mod=none`` without any, ``n_data`` rows that lack every modality.

    Raises:
        WrongInput: ``n_data`` beside observations.
    """
    if query.cond_mod == ["none"] and not observations.columns:
        return Observations({}, query.n_data or 1)
    if query.n_data is not None:
        raise WrongInput(
            "n_data goes with cond_mod=none alone; otherwise there are as many rows as were sent"
        )
    return observations


def seed_of(query: _Seeded) -> int:
    """Return the seed of the query, or a random one."""
    return random.getrandbits(32) if query.seed is None else query.seed
