"""POST /encode, /generate and /score, of the default model and of any."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query

from models_store.errors import listed
from models_store.kinds import MEDIA
from models_store.manifest import Modality
from service.engine.model import Encoded, Generated, Model
from service.engine.predictive import FIELDS
from service.engine.scoring import Scored
from service.errors import WrongInput
from service.formats import files, render, tables
from service.formats.render import Reply
from service.routes.bounded import Bounded
from service.routes.dependencies import Accept, CurrentModel, Observed, rows_of, seed_of
from service.schemas import EncodeQuery, GenerateQuery, ScoreQuery

# service/openapi describes them: with the modalities of each model, which the framework does not know
router = APIRouter(include_in_schema=False, route_class=Bounded)

GENERATED: Mapping[str, Sequence[str]] = {
    render.JSON: FIELDS,
    render.NPZ: FIELDS,
    **dict.fromkeys(MEDIA, ("samples",)),
    render.ZIP: ("samples",),
    render.CSV: tables.FIELDS,
}
"""What /generate can answer with, and the summaries that it takes."""

ENCODED = (render.JSON, render.NPZ)


@router.post("/encode", operation_id="encode")
@router.post("/models/{name}/encode", operation_id="encode_with")
async def encode(
    observed: Observed, current: CurrentModel, query: Annotated[EncodeQuery, Query()], accept: Accept
) -> Reply:
    """The posterior of z given whatever was sent, and draws from it."""
    media = render.negotiate(accept, ENCODED)
    rows, seed = rows_of(observed, query), seed_of(query)
    encoded = await current.model.encode(
        rows, query.cond_mod, draws=query.N, seed=seed, return_mean=query.return_mean
    )
    return render.reply(
        media,
        {**_head(current.model, rows.n, seed, encoded.condition), **_encoding(current.model, encoded, query)},
    )


@router.post("/generate", operation_id="generate")
@router.post("/models/{name}/generate", operation_id="generate_with")
async def generate(
    observed: Observed, current: CurrentModel, query: Annotated[GenerateQuery, Query()], accept: Accept
) -> Reply:
    """Every modality that was asked for, given whatever was sent."""
    media = render.negotiate(accept, tuple(GENERATED))
    rows, seed, fields = rows_of(observed, query), seed_of(query), _known(query.fields)
    model, table, targets = current.model, None, query.gen_mod
    if media == render.CSV:
        table, targets = tables.question(model.manifest, rows, query.gen_mod)
    generated = await model.generate(
        rows,
        query.cond_mod,
        targets,
        fields=fields if media in (render.JSON, render.NPZ) else GENERATED[media],
        draws=query.N,
        summary_draws=query.K,
        seed=seed,
        return_mean=query.return_mean,
        noise=query.noise,
        prior=query.prior,
    )
    head = _head(model, rows.n, seed, generated.condition)

    def rendered() -> Reply:
        if table is not None:
            content = tables.to_csv(tables.fill(model.manifest, table, generated))
        elif media in MEDIA:
            content = files.single(model.manifest, generated, MEDIA[media], seed)
        elif media == render.ZIP:
            content = files.zipped(model.manifest, generated, seed, head)
        else:
            return render.reply(media, {**head, "targets": _targets(model, generated, query.flatten)})
        return render.file(media, content, seed)

    return await asyncio.to_thread(rendered)


@router.post("/score", operation_id="score")
@router.post("/models/{name}/score", operation_id="score_with")
async def score(
    observed: Observed, current: CurrentModel, query: Annotated[ScoreQuery, Query()], accept: Accept
) -> Reply:
    """The log-likelihood of what was sent: of all together, of some, or of some given others."""
    media = render.negotiate(accept, ENCODED)
    seed = seed_of(query)
    scored = await current.model.score(
        observed, query.cond_mod, query.gen_mod, draws=query.K, at_once=query.batch_size_K, seed=seed
    )
    head = _head(current.model, observed.n, seed, scored.condition)
    return render.reply(media, {**head, "gen_mod": list(scored.targets), "K": query.K, **_scores(scored)})


def _head(model: Model, n: int, seed: int, condition: Sequence[str]) -> dict[str, Any]:
    return {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "n_data": n,
        "seed": seed,
        "cond_mod": list(condition),
    }


def _encoding(model: Model, encoded: Encoded, query: EncodeQuery) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "z": _flat(encoded.z) if query.flatten else encoded.z,
        "mu": encoded.mu,
        "log_var": encoded.log_var,
        "one_latent_space": True,
    }
    if encoded.origin is not None:
        shares, information, disagreement = encoded.origin
        answer["contributions"] = dict(zip(("prior", *model.rules.names), shares, strict=True))
        answer |= {"information": information, "disagreement": disagreement}
    return answer


def _scores(scored: Scored) -> dict[str, Any]:
    return {
        "question": list(scored.questions),
        "log_prob": scored.evidence.log_prob,
        "std_error": scored.evidence.std_error,
        "ess": scored.evidence.ess,
        "p_value": scored.p_value,
    }


def _targets(model: Model, generated: Generated, flatten: bool) -> dict[str, Any]:
    return {
        name: _target(model.manifest.modality(name), summary, flatten)
        for name, summary in generated.targets.items()
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
