"""Reads request bodies: bytes to observations, by media type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import lru_cache, partial
from typing import TypeVar

from python_multipart.multipart import parse_options_header
from starlette.types import Receive

from models_store.errors import listed
from service.engine.budget import SMALL, Allowance, Budget, Costly, in_thread
from service.engine.observations import Column, Observations
from service.engine.rules import Rules
from service.engine.workers import COPIED, FEW, aside
from service.errors import ClientDisconnected, TooLarge, UnknownMediaType, WrongInput
from service.formats import archive, document, form, tables
from service.http import encoding
from service.http.response import BYTES, CSV, JSON, MULTIPART, NPZ

T = TypeVar("T")

SENDING: Mapping[str, Sequence[str]] = {
    "": (MULTIPART, JSON, NPZ, BYTES, CSV),
    "json": (JSON,),
    "npz": (BYTES, NPZ),
    "csv": (CSV,),
}
"""Accepted media types by the last part of a path: ``/encode`` accepts all, ``/encode/json`` JSON alone."""
UNSET = ("", "text/plain", "application/x-www-form-urlencoded")
"""Media types that clients write where a program sets none; the path then decides."""
USUAL_RATIO = 16
"""Bytes that one byte of a compressed body rarely exceeds."""
BYTES_OF_TABLE = 16
"""Memory of one byte of a table while it is read, in bytes."""
LARGE = 2**23
"""Bytes from which a body is converted while no other large one is."""


async def by_cost(budget: Budget, size: int, small: bool, function: Callable[[Allowance | None], T]) -> T:
    """Calls a function on the event loop if that takes little time, else in a thread.

    Arguments:
        budget: Budget of the process.
        size: Bytes of the body; large ones are converted one at a time.
        small: Whether to try it on the event loop.
        function: Function of the allowance of this request, or of None on the event loop; there it raises
            ``Costly`` if its work takes too long.
    """
    if small:
        try:
            return function(None)
        except Costly:
            pass
    async with budget.one_large if size > LARGE else nullcontext():
        return await in_thread(budget, function)


async def observations(
    rules: Rules,
    content_type: str | None,
    body: bytes,
    limit: int,
    budget: Budget,
    accepted: Sequence[str] = SENDING[""],
) -> Observations:
    """Parses a body: on the event loop where that takes little time, else in a thread.

    Arguments:
        rules: Rules of the model.
        content_type: As for :func:`parse`.
        body: Body of the request.
        limit: Largest size of an unpacked body, in bytes.
        budget: Memory that requests may take.
        accepted: Media types that the path accepts.

    Raises:
        TooBusy: Other requests hold the memory.
        Exception: As for :func:`parse`.
    """
    work = partial(parse, rules, content_type, body, limit, accepted)
    return await by_cost(budget, len(body), len(body) <= FEW, work)


async def read(receive: Receive, limit: int, budget: Budget) -> bytes:
    """Reads the whole body, and takes memory for it.

    Arguments:
        receive: ASGI callable that yields the body.
        limit: Largest size, in bytes.
        budget: Memory that requests may take.

    Raises:
        TooLarge: The body is longer than the limit; raised as soon as it is.
        TooBusy: Other requests hold the memory.
        ClientDisconnected: The client disconnected before the end of the body.
    """
    chunks, size, taken, more = [], 0, 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected("the client disconnected before its body was complete")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body is longer than the {limit} bytes that one request may have")
        if size - taken > SMALL:
            await budget.take(2 * (size - taken))  # the chunks, and the body that they are joined to
            taken = size
        chunks.append(chunk)
        more = message.get("more_body", False)
    if len(chunks) == 1:
        return chunks[0]
    return b"".join(chunks) if size <= FEW else await aside(size // COPIED, b"".join, chunks)


async def decoded(body: bytes, coding: str, limit: int, budget: Budget) -> bytes:
    """Removes the content codings of a body in a thread; takes memory for its usual size, or for all.

    Arguments:
        body: Body of the request.
        coding: Header Content-Encoding.
        limit: Largest size of the decoded body, in bytes.
        budget: Memory that requests may take.

    Raises:
        UnknownCoding: A coding is not supported.
        Unparsable: The body is not of its coding.
        TooLarge: The decoded body is longer than the limit.
        TooBusy: Other requests hold the memory.
    """
    usual = min(limit, USUAL_RATIO * len(body) + SMALL)
    await budget.take(2 * usual)
    with suppress(TooLarge):
        return await by_cost(budget, usual, False, lambda _: encoding.decoded(body, coding, usual))
    await budget.take(2 * (limit - usual))
    return await by_cost(budget, limit, False, lambda _: encoding.decoded(body, coding, limit))


def parse(
    rules: Rules,
    content_type: str | None,
    body: bytes,
    limit: int,
    accepted: Sequence[str] = SENDING[""],
    allowance: Allowance | None = None,
) -> Observations:
    """Parses a body to observations.

    Arguments:
        rules: Rules of the model.
        content_type: Content type of the request; where no program set it, the path decides.
        body: Body of the request; an empty body has no rows.
        limit: Largest size of an unpacked body, in bytes.
        accepted: Media types that the path accepts.
        allowance: Memory for this work in a thread; None on the event loop.

    Raises:
        Costly: The work takes too long for the event loop.
        UnknownMediaType: The media type is not accepted.
        Unparsable: The body is not of its content type, or a file in it cannot be read.
        WrongInput: A modality is unknown, a value does not fit, or numbers of rows differ.
        TooLarge: The unpacked body is larger than the limit.
    """
    if not body:
        return Observations({}, 0)
    media_type, boundary = _content_type(content_type)
    if accepted != SENDING[""] and media_type in UNSET:
        media_type = accepted[0]
    match media_type if media_type in accepted else None:
        case "multipart/form-data":
            return together(form.columns(rules, body, boundary, allowance))
        case "application/json":
            return together(document.columns(rules, body, allowance))
        case "application/x-npz" | "application/octet-stream":
            return together(archive.columns(rules, body, limit, allowance))
        case "text/csv":
            if allowance is None:
                raise Costly  # the dialect of the shortest one takes milliseconds to detect
            allowance.take(BYTES_OF_TABLE * len(body))
            observations = tables.read(rules, body)
            _check_rows(dict.fromkeys(observations.columns, observations.n))
            return observations
        case _:
            raise UnknownMediaType(
                f"the body must be {_alternatives(accepted)}, got {content_type or 'no content type'}"
            )


def _alternatives(accepted: Sequence[str]) -> str:
    *others, last = (media for media in accepted if media != BYTES)
    return f"{', '.join(others)} or {last}" if others else last


@lru_cache(maxsize=128)
def _content_type(header: str | None) -> tuple[str, bytes | None]:
    """Returns the media type, and the boundary of a form."""
    name, options = parse_options_header(header)
    return name.decode("latin1"), options.get(b"boundary")


def together(columns: dict[str, Column]) -> Observations:
    """Joins the columns of one request.

    Raises:
        WrongInput: The columns have different numbers of rows, or no rows.
    """
    counts = [len(column.values) for column in columns.values()]
    if 0 in counts or len(set(counts)) > 1:
        _check_rows(dict(zip(columns, counts, strict=True)))
    return Observations(columns, counts[0] if counts else 0)


def _check_rows(rows: dict[str, int]) -> None:
    counts = {*rows.values()}
    if len(counts) > 1:
        sizes = ", ".join(f"'{name}' has {count}" for name, count in rows.items())
        raise WrongInput(f"all modalities must have the same number of rows: {sizes}")
    if 0 in counts:
        raise WrongInput(f"{listed(rows)} was sent without a single row")
