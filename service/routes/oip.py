"""Inference in the Open Inference Protocol, under /v2; docs/protocol.md lists inputs and outputs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from models_store.errors import shown
from service.engine.model import Encoded, Generated, Model
from service.engine.observations import Observations
from service.engine.workers import COPIED, aside
from service.errors import NotFound, PastDeadline, WrongInput
from service.formats import bodies
from service.http.endpoints import Endpoint, EndpointRequest
from service.http.response import Reply
from service.models.catalog import Catalog
from service.models.loading import Loaded
from service.oip import answers, requests
from service.oip.cache import cache_of
from service.oip.outputs import RequestedOutputs
from service.oip.requests import InferenceRequest, Parameters
from service.routes.inference import record_body, rows_of, seed_of

T = TypeVar("T")
MODEL, VERSION = "/models/{name}", "/models/{name}/versions/{version}"
MAX_DIGITS = 9
"""Digits of a version in a path."""


async def infer(request: EndpointRequest) -> Reply:
    """Answers a request with its outputs, given its inputs."""
    catalog: Catalog = request.scope["state"]["catalog"]
    came = time.monotonic_ns()
    loaded = current(catalog, request.parameters["name"], request.parameters.get("version"))
    try:
        catalog.admit()
        if query := request.scope["query_string"]:  # refused, so that a seed in it is not ignored silently
            raise WrongInput(
                f"parameters are a field of the body here, got the query {shown(query.decode('latin1'))}"
            )
        with request.deadlines.limit(request.receive) as deadline:
            limit = catalog.settings.max_body_bytes
            body = await bodies.read(request.receive, limit, catalog.budget)
            deadline.uploaded = True
            if (coding := request.header(b"content-encoding")) is not None:
                body = await bodies.decoded(body, coding, limit, catalog.budget)
            length = request.header(b"inference-header-content-length")
            parse = partial(requests.parse, loaded.model.rules, body, length)
            parsed = await bodies.by_cost(catalog.budget, len(body), True, parse)
            observed = parsed.observed
            record_body(request.context, loaded, observed)
            catalog.admit()  # other requests may have filled the queues during the upload
            return await answer(loaded, parsed, came, answers.write)
    except BaseException:
        cache_of(loaded).statistics.failed(time.monotonic_ns() - came)
        raise


ENDPOINTS = (
    Endpoint(f"/v2{MODEL}/infer", "infer", infer),
    Endpoint(f"/v2{VERSION}/infer", "infer_version", infer),
)


async def answer(loaded: Loaded, request: InferenceRequest, came: int, write: Callable[..., T]) -> T:
    """Computes the outputs of a request, and counts it in the statistics of its model.

    Arguments:
        loaded: Version that answers.
        request: The request.
        came: Time at which it came, in nanoseconds of the monotonic clock.
        write: Function of the manifest, the request's id, the parameters and the outputs of the response,
            such as :func:`service.oip.answers.write`.

    Raises:
        Refusal: The request is refused; its class gives the status.
    """
    read, cache = time.monotonic_ns(), cache_of(loaded)
    model, parameters = loaded.model, request.head.parameters
    rows, seed = rows_of(request.observed, parameters), seed_of(parameters)
    requested = cache.resolve(request.head.outputs, tuple(parameters.gen_mod), parameters.binary_data_output)
    work = _compute(model, rows, parameters, requested, seed)
    encoded, generated = await (work if parameters.timeout is None else _within(parameters.timeout, work))
    computed = time.monotonic_ns()
    answered = [(one, output, output.of(encoded, generated)) for one, output in requested.outputs]
    condition = next(answer.condition for answer in (encoded, generated) if answer is not None)
    returned = {"seed": seed, "cond_mod": ",".join(condition) or "none"}

    size = sum(
        [array.size // COPIED if one.binary and not one.classes else array.size for one, _, array in answered]
    )
    await model.reserve(answers.memory(model.manifest, answered))
    reply = await aside(size, write, model.manifest, request.head.id, returned, answered)
    cache.statistics.answered(rows.n, (came, read, computed, time.monotonic_ns()))
    return reply


async def _compute(
    model: Model, rows: Observations, parameters: Parameters, requested: RequestedOutputs, seed: int
) -> tuple[Encoded | None, Generated | None]:
    """Computes the posterior and the targets that the outputs need."""
    encoded: Encoded | None = None
    generated: Generated | None = None
    if requested.posterior:
        encoded = await model.encode(
            rows,
            parameters.cond_mod,
            draws=parameters.N if requested.drawn else 0,
            seed=seed,
            return_mean=parameters.return_mean,
            explained=requested.explained,
        )
    if requested.targets:
        generated = await model.generate(
            rows,
            parameters.cond_mod,
            requested.targets,
            fields=requested.fields,
            draws=parameters.N,
            summary_draws=parameters.K,
            seed=seed,
            return_mean=parameters.return_mean,
            noise=parameters.noise,
            prior=parameters.prior,
        )
    return encoded, generated


async def _within(microseconds: int, work: Coroutine[Any, Any, T]) -> T:
    try:
        return await asyncio.wait_for(work, microseconds / 1e6)
    except TimeoutError:
        raise PastDeadline(f"no answer within the request's timeout of {microseconds} µs") from None


def current(catalog: Catalog, name: str, version: str | None) -> Loaded:
    """Returns the version that a path names.

    Raises:
        NotFound: It is not loaded.
    """
    if version is not None and not (version.isdecimal() and len(version) <= MAX_DIGITS):
        raise NotFound(f"a version is a number of at most {MAX_DIGITS} digits, got {shown(version)}")
    return catalog.get(name, None if version is None else int(version))
