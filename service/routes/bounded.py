"""What bounds a question: it is let in or not, has a deadline, and ends when its client hangs up."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from inspect import signature
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from service.engine.workers import aside
from service.formats import bodies
from service.formats.render import Reply
from service.http.endpoints import Arrival, DirectRoute


class Bounded(DirectRoute):
    """A route for a question: ``endpoint(observed, current, query, accept)``.

    FastAPI reads the signature for /openapi.json; to answer, the four are put together here.
    """

    async def answer(self, arrival: Arrival) -> Reply:
        catalog = arrival.catalog
        catalog.admit()
        with arrival.lifetimes.begin(arrival.receive) as lifetime:
            query = _query(self._query_type, arrival.scope["query_string"])
            current = catalog.get(arrival.parameters.get("name"), query.version)
            limit, content_type = catalog.settings.max_body_bytes, arrival.header(b"content-type")
            body = await bodies.read(arrival.receive, limit)
            lifetime.uploaded()
            observed = await aside(len(body), bodies.parse, current.model.rules, content_type, body, limit)
            arrival.exchange.read(current.bundle.manifest.name, observed.n, len(observed.columns))
            catalog.admit()  # others may have come meanwhile
            reply: Reply = await self.endpoint(observed, current, query, arrival.header(b"accept"))
        return reply

    @cached_property
    def _query_type(self) -> type[BaseModel]:
        kind, _ = get_args(signature(self.endpoint, eval_str=True).parameters["query"].annotation)
        return kind


@lru_cache(maxsize=256)
def _query(kind: type[Any], sent: bytes) -> Any:
    """The parameters that were sent; of those that are no lists, the last.

    Raises:
        RequestValidationError: One is unknown, or has a value that it cannot have.
    """
    values: dict[str, Any] = {}
    for name, value in parse_qsl(sent.decode("latin1"), keep_blank_values=True):
        if _is_list(kind.model_fields, name):
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in found]) from None


def _is_list(fields: Mapping[str, Any], name: str) -> bool:
    return name in fields and get_origin(fields[name].annotation) is list
