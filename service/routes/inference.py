"""POST /encode, /generate and /score, of the default model and of a named one."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol, TypeAlias, get_origin
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from models_store.errors import listed
from models_store.kinds import MEDIA
from service.engine.budget import Allowance, in_thread
from service.engine.observations import Observations
from service.engine.summaries import FIELDS
from service.engine.workers import FEW, aside
from service.errors import WrongInput
from service.formats import bodies, files, render, tables
from service.formats.form import name_and_position
from service.http.endpoints import Endpoint, EndpointRequest
from service.http.response import CSV, JSON, NPZ, ZIP, Reply, negotiate
from service.models.catalog import Catalog
from service.models.loading import Loaded
from service.schemas import POSTERIOR_FIELDS, EncodeQuery, GenerateQuery, ScoreQuery
from service.telemetry.context import RequestContext

GENERATED: Mapping[str, Sequence[str]] = {
    JSON: FIELDS,
    NPZ: FIELDS,
    **dict.fromkeys(MEDIA, ("samples",)),
    ZIP: ("samples",),
    CSV: tables.FIELDS,
}
"""Media types of a response to /generate, and the fields of a target that each can hold."""

ENCODED = (JSON, NPZ)
LONGEST_KEPT = 1024
"""Longest query that is kept parsed, in bytes."""
SCORES = 8
"""Numbers and texts of a row in a response to /score."""
EXPLANATION = frozenset({"contributions", "information", "disagreement"})


class Inference(NamedTuple):
    """A request for a model, its body read and checked.

    Arguments:
        observed: Rows of the body.
        current: Model that the path names.
        query: Parameters of the path's query.
        accept: Header Accept.
    """

    observed: Observations
    current: Loaded
    query: Any
    accept: str | None


async def encode(request: Inference) -> Reply:
    """Answers with the posterior of z given the observed modalities, and draws from it."""
    query: EncodeQuery = request.query
    media, model = negotiate(request.accept, ENCODED), request.current.model
    rows, seed = rows_of(request.observed, query), seed_of(query)
    _check_columns(request)
    fields = _checked_fields(query.fields, POSTERIOR_FIELDS)
    drawn = "z" in fields
    encoded = await model.encode(
        rows,
        query.cond_mod,
        draws=query.N if drawn else 0,
        seed=seed,
        return_mean=query.return_mean or not drawn,
        explained=not EXPLANATION.isdisjoint(fields),
        robust=query.robust,
    )
    write = partial(render.encoded, model.manifest, media, rows.n, seed, encoded, query.flatten, fields)
    if encoded.numbers <= FEW:
        return write()
    return await in_thread(model.budget, lambda _: write())


async def generate(request: Inference) -> Reply:
    """Answers with the requested modalities given the observed ones."""
    query: GenerateQuery = request.query
    media, model = negotiate(request.accept, tuple(GENERATED)), request.current.model
    rows, seed = rows_of(request.observed, query), seed_of(query)
    fields: Sequence[str] = _checked_fields(query.fields, FIELDS)
    filling, targets = None, tuple(query.gen_mod)
    if media == CSV:
        names = targets if targets == ("all",) else model.rules.targets(targets)
        filling = tables.filling(model.manifest, rows, names)
        rows, targets = filling.rows(), filling.targets
    else:
        _check_columns(request)
        files.check(model.manifest, media, model.rules.targets(targets), rows.n, query.N)
    generated = await model.generate(
        rows,
        query.cond_mod,
        targets,
        fields=fields if media in (JSON, NPZ) else GENERATED[media],
        draws=query.N,
        summary_draws=query.K,
        seed=seed,
        return_mean=query.return_mean,
        noise=query.noise,
        prior=query.prior,
        calibrated=query.calibrated,
        robust=query.robust,
    )
    head = render.head(model.manifest, rows.n, seed, generated.condition)
    write = partial(render.generated, model.manifest, media, head, generated, filling, query.flatten)
    if media in ENCODED and generated.numbers <= FEW:
        return write(Allowance(model.budget))
    return await in_thread(model.budget, write)


async def score(request: Inference) -> Reply:
    """Answers with log-likelihoods of the observed modalities: of all, of some, or of some given others."""
    query: ScoreQuery = request.query
    media, model = negotiate(request.accept, ENCODED), request.current.model
    seed = seed_of(query)
    _check_columns(request)
    scored = await model.score(
        request.observed,
        query.cond_mod,
        query.gen_mod,
        draws=query.K,
        at_once=query.batch_size_K,
        seed=seed,
        robust=query.robust,
    )
    head = render.head(model.manifest, request.observed.n, seed, scored.condition)
    answer = {**head, "gen_mod": list(scored.targets), "K": query.K, **render.scores(scored)}
    numbers = SCORES * request.observed.n
    return await aside(numbers, render.reply, media, answer, numbers)


def _check_columns(request: Inference) -> None:
    """Refuses a table with unknown columns, which only an answer that is a table copies."""
    if request.observed.table is not None:
        tables.check_known(request.current.model.manifest, request.observed.table)


Operation: TypeAlias = Callable[[Inference], Awaitable[Reply]]

OPERATIONS: Mapping[str, tuple[type[BaseModel], Operation]] = {
    "encode": (EncodeQuery, encode),
    "generate": (GenerateQuery, generate),
    "score": (ScoreQuery, score),
}
"""Parameters and function of each path."""


async def respond(
    query_model: type[BaseModel], operation: Operation, accepted: Sequence[str], request: EndpointRequest
) -> Reply:
    """Admits a request, reads its query and body within its deadline, and passes both to the operation.

    Arguments:
        query_model: Parameters of the path.
        operation: Function of the path.
        accepted: Media types of the body that the path accepts.
        request: The request.

    Raises:
        Refusal: The request is refused; its class gives the status.
        RequestValidationError: The query has an unknown parameter or a wrong value.
    """
    catalog: Catalog = request.scope["state"]["catalog"]
    catalog.admit()
    with request.deadlines.limit(request.receive) as deadline:
        query = parse_query(query_model, request.scope["query_string"])
        current = catalog.get(request.parameters.get("name"), query.version)
        limit, content_type = catalog.settings.max_body_bytes, request.header(b"content-type")
        body = await bodies.read(request.receive, limit, catalog.budget)
        if (coding := request.header(b"content-encoding")) is not None:
            body = await bodies.decoded(body, coding, limit, catalog.budget)
        deadline.uploaded = True
        observed = await bodies.observations(
            current.model.rules, content_type, body, limit, catalog.budget, accepted
        )
        record_body(request.context, current, observed)
        catalog.admit()  # other requests may have filled the queues during the upload
        return await operation(Inference(observed, current, query, request.header(b"accept")))


def _endpoints() -> Iterator[Endpoint]:
    """Yields the paths of each operation: for the default and a named model, and for each way of sending."""
    for name, operation in OPERATIONS.items():
        for path, operation_id in ((f"/{name}", name), (f"/models/{{name}}/{name}", f"{name}_with")):
            for suffix, accepted in bodies.SENDING.items():
                whole = f"{path}/{suffix}" if suffix else path
                yield Endpoint(whole, operation_id, partial(respond, *operation, accepted))


ENDPOINTS = tuple(_endpoints())


class _Seeded(Protocol):
    @property
    def seed(self) -> int | None: ...


class _Conditioned(Protocol):
    @property
    def cond_mod(self) -> list[str]: ...
    @property
    def n_data(self) -> int | None: ...


def record_body(context: RequestContext, current: Loaded, observed: Observations) -> None:
    """Records that the body of a request is read, and what it holds."""
    context.model, context.rows = current.bundle.manifest.name, observed.n
    context.modalities = len(observed.columns)
    context.phases.record("read")


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


def parse_query(kind: type[BaseModel], content: bytes) -> Any:
    """Reads the parameters of a query; where one is repeated and no list, the last value counts.

    An element of a list may be called ``NAME[]`` or ``NAME[0]``, as axios and PHP write it.

    Raises:
        RequestValidationError: A parameter is unknown, or has a wrong value.
    """
    return _parse_once(kind, content) if len(content) <= LONGEST_KEPT else _parse(kind, content)


def _parse(kind: type[BaseModel], content: bytes) -> Any:
    values: dict[str, Any] = {}
    for name, value in parse_qsl(content.decode("latin1"), keep_blank_values=True):
        plain, _ = name_and_position(name)
        if _is_list(kind.model_fields, plain):
            values.setdefault(plain, []).append(value)
        else:
            values[name] = value
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in errors]) from None


_parse_once = lru_cache(maxsize=256)(_parse)


def _is_list(fields: Mapping[str, Any], name: str) -> bool:
    return name in fields and get_origin(fields[name].annotation) is list


def _checked_fields(fields: list[str], available: Sequence[str]) -> list[str]:
    for field in fields:
        if field not in available:
            raise WrongInput(f"unknown field {listed([field])}; there are {listed(available)}")
    return fields
