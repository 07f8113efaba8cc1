"""POST /encode and /generate, of the default model and of any."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from models_store.manifest import Modality
from service import replies
from service.errors import WrongInput
from service.inference import FIELDS, Encoded, Generated, Model, listed
from service.routes.bounded import Bounded
from service.routes.common import BODY, ERRORS, CurrentModel, Observed, rows_of, seed_of
from service.schemas import EncodeQuery, GenerateQuery

router = APIRouter(tags=["questions"], responses=ERRORS, route_class=Bounded)


@router.post("/encode", openapi_extra=BODY, operation_id="encode")
@router.post("/models/{name}/encode", openapi_extra=BODY, operation_id="encode_with")
async def encode(
    request: Request, observed: Observed, current: CurrentModel, query: Annotated[EncodeQuery, Query()]
) -> Response:
    """The posterior of z given whatever was sent, and draws from it."""
    media = replies.negotiate(request.headers.get("accept"), (replies.JSON, replies.NPZ))
    rows, seed = rows_of(observed, query), seed_of(query)
    encoded = await current.model.encode(
        rows, query.cond_mod, draws=query.N, seed=seed, return_mean=query.return_mean
    )
    return replies.reply(media, {**_head(current.model, rows.n, seed, encoded), **_encoding(encoded, query)})


@router.post("/generate", openapi_extra=BODY, operation_id="generate")
@router.post("/models/{name}/generate", openapi_extra=BODY, operation_id="generate_with")
async def generate(
    request: Request, observed: Observed, current: CurrentModel, query: Annotated[GenerateQuery, Query()]
) -> Response:
    """Every modality that was asked for, given whatever was sent."""
    media = replies.negotiate(request.headers.get("accept"), (replies.JSON, replies.NPZ, replies.PNG))
    rows, seed = rows_of(observed, query), seed_of(query)
    generated = await current.model.generate(
        rows,
        query.cond_mod,
        query.gen_mod,
        fields=["samples"] if media == replies.PNG else _known(query.fields),
        draws=query.N,
        summary_draws=query.K,
        seed=seed,
        return_mean=query.return_mean,
        noise=query.noise,
    )
    if media == replies.PNG:
        return replies.picture(current.model, generated)
    targets = {
        name: _target(current.model.manifest.modality(name), summary, query.flatten)
        for name, summary in generated.targets.items()
    }
    return replies.reply(media, {**_head(current.model, rows.n, seed, generated), "targets": targets})


def _head(model: Model, n: int, seed: int, answer: Encoded | Generated) -> dict[str, Any]:
    return {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "n_data": n,
        "seed": seed,
        "cond_mod": list(answer.condition),
    }


def _encoding(encoded: Encoded, query: EncodeQuery) -> dict[str, Any]:
    return {
        "z": _flat(encoded.z) if query.flatten else encoded.z,
        "mu": encoded.posterior.mu,
        "log_var": encoded.posterior.log_var,
        "one_latent_space": True,
    }


def _target(modality: Modality, summary: dict[str, Any], flatten: bool) -> dict[str, Any]:
    """The summaries of a target, and beside them what their numbers mean."""
    if flatten and "samples" in summary:
        summary = {**summary, "samples": _flat(summary["samples"])}
    if modality.labels:
        return {**summary, "labels": list(modality.labels)}
    if modality.columns:
        names, units = [c.name for c in modality.columns], [c.unit or "" for c in modality.columns]
        return {**summary, "columns": names, "units": units}
    return summary


def _flat(draws: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return draws.reshape(-1, *draws.shape[2:])


def _known(fields: list[str]) -> list[str]:
    for field in fields:
        if field not in FIELDS:
            raise WrongInput(f"unknown field '{field}'; there are {listed(FIELDS)}")
    return fields
