"""What every question needs: the model that it is for, and what was observed."""

from __future__ import annotations

import random
from typing import Annotated, Protocol

from fastapi import Depends, Query, Request

from service.engine.observations import Observations
from service.errors import WrongInput
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


def _read_by_the_route() -> None:
    """Nothing: :class:`Bounded` reads it, and here FastAPI learns that it is no parameter."""


Observed = Annotated[Observations, Depends(_read_by_the_route)]
Accept = Annotated[str | None, Depends(_read_by_the_route)]


class _Seeded(Protocol):
    @property
    def seed(self) -> int | None: ...


class _Conditioned(Protocol):
    @property
    def cond_mod(self) -> list[str]: ...
    @property
    def n_data(self) -> int | None: ...


def rows_of(observations: Observations, query: _Conditioned) -> Observations:
    """The observations, or for ``cond_mod=none`` the rows of nothing that ``n_data`` asks for.

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
    """The seed that was sent, or a new one."""
    return random.getrandbits(32) if query.seed is None else query.seed
