"""The bytes of a request to rows by modality; one module per form that they may have."""

from __future__ import annotations

from functools import lru_cache

from python_multipart.multipart import parse_options_header
from starlette.types import Receive

from models_store.errors import listed
from service.engine.observations import Column, Observations
from service.engine.rules import Rules
from service.errors import ClientDisconnected, TooLarge, UnknownMediaType, WrongInput
from service.formats import archive, document, form, tables
from service.http.response import CSV, JSON, MULTIPART, NPZ


async def read(receive: Receive, limit: int) -> bytes:
    """The whole body, refused as soon as it is longer than the limit.

    Raises:
        TooLarge: It is.
        ClientDisconnected: It ends too early.
    """
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected("the client disconnected before its body was complete")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body is longer than the {limit} bytes that one request may have")
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parse(rules: Rules, content_type: str | None, body: bytes, limit: int) -> Observations:
    """What was observed.

    Arguments:
        rules: Of the model whose modalities they are.
        content_type: Of the request.
        body: Of the request; an empty one is an observation of nothing.
        limit: The most bytes that a packed body may have when it is unpacked.

    Raises:
        UnknownMediaType: No form that is known.
        Unparsable: Not what the content type says, or a file in it cannot be read.
        WrongInput: A modality is unknown, a value does not fit, or numbers of rows differ.
        TooLarge: It is packed, and unpacked longer than the limit.
    """
    if not body:
        return Observations({}, 0)
    media_type, options = _content_type(content_type)
    match media_type.decode("latin1"):
        case "multipart/form-data":
            return together(form.columns(rules, body, options.get(b"boundary")))
        case "application/json":
            return together(document.columns(rules, body))
        case "application/x-npz" | "application/octet-stream":
            return together(archive.columns(rules, body, limit))
        case "text/csv":
            sent = tables.read(rules, body)
            observations = tables.observed(rules.manifest, sent)
            _check_rows(dict.fromkeys(observations.columns, observations.n))
            return observations
        case _:
            known = ", ".join((MULTIPART, JSON, NPZ))
            raise UnknownMediaType(
                f"the body must be {known} or {CSV}, got {content_type or 'no content type'}"
            )


_content_type = lru_cache(maxsize=128)(parse_options_header)


def together(columns: dict[str, Column]) -> Observations:
    """The columns of one request.

    Raises:
        WrongInput: They have different numbers of rows, or none.
    """
    rows = {name: len(column.values) for name, column in columns.items()}
    _check_rows(rows)
    return Observations(columns, max(rows.values(), default=0))


def _check_rows(rows: dict[str, int]) -> None:
    counts = {*rows.values()}
    if len(counts) > 1:
        told = ", ".join(f"'{name}' has {count}" for name, count in rows.items())
        raise WrongInput(f"all modalities must have the same number of rows: {told}")
    if 0 in counts:
        raise WrongInput(f"{listed(rows)} was sent without a single row")
