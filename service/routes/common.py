"""What every question needs: the model that it is for, and what was observed."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Protocol

from fastapi import Depends, Query, Request

from service import bodies
from service.catalog import Catalog
from service.errors import WrongInput
from service.inference import Observations
from service.loading import Loaded
from service.schemas import Problem


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
    return secrets.randbits(32) if query.seed is None else query.seed


ARCHIVE = {
    "type": "string",
    "format": "binary",
    "description": "An npz archive: an array per modality, rows first; a boolean mask.NAME says which rows "
    "have it.",
}

BODY: dict[str, Any] = {
    "requestBody": {
        "description": "What is observed: one field per modality; a modality that is not sent is missing.",
        "content": {
            bodies.MULTIPART: {
                "schema": {
                    "type": "object",
                    "additionalProperties": {"type": "string", "format": "binary"},
                    "description": "One part per modality; several parts of one name are several rows. "
                    "A picture (PNG, JPEG, …); a sound (WAV, FLAC, OGG); a label as text; a vector or counts "
                    "as JSON or CSV; points as JSON or CSV; or .npy with a leading row axis.",
                }
            },
            bodies.JSON: {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "inputs": {
                            "type": "object",
                            "additionalProperties": {"type": "array", "items": {}},
                            "description": "By modality a list of rows: nested arrays, an object by column, "
                            "a label or its index, base64 of a file; null where the row lacks the modality.",
                        }
                    },
                }
            },
            bodies.NPZ: {"schema": ARCHIVE},
            bodies.BYTES: {"schema": ARCHIVE},
            bodies.CSV: {
                "schema": {
                    "type": "string",
                    "description": "A table with the header modality.column, or the column alone where only "
                    "one modality has it; an empty cell is missing.",
                }
            },
        },
    }
}

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description, "content": {"application/problem+json": {}}}
    for status, description in {
        400: "The body, or a file in it, cannot be read.",
        403: "The service is set not to do this.",
        404: "No such model.",
        406: "The answer has no form that Accept allows.",
        409: "A service with several processes cannot do this.",
        408: "The body took too long to arrive.",
        413: "Too many bytes, rows or draws.",
        415: "The body has an unknown media type.",
        422: "A wrong subset, shape, label or parameter.",
        429: "Too many rows wait; `Retry-After` estimates for how long.",
        503: "No model is ready, or the question took too long.",
    }.items()
}
