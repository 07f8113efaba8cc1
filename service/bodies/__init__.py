"""The bytes of a request to rows by modality: multipart form or JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from models_store import codecs
from models_store.errors import UnreadableFile, WrongValue, shown
from models_store.manifest import Modality
from service.errors import TooLarge, UnknownMediaType, Unparsable, WrongInput
from service.inference import Column, Model, Observations, listed

MULTIPART = "multipart/form-data"
JSON = "application/json"

Parts = Mapping[str, Sequence[bytes]]


async def read(stream: AsyncIterator[bytes], limit: int) -> bytes:
    """The whole body, refused as soon as it is longer than the limit.

    Raises:
        TooLarge: It is.
    """
    chunks, size = [], 0
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body is longer than the {limit} bytes that one request may have")
        chunks.append(chunk)
    return b"".join(chunks)


def parse(model: Model, content_type: str | None, body: bytes) -> Observations:
    """What was observed.

    Arguments:
        model: Whose modalities they are.
        content_type: Of the request.
        body: Of the request; an empty one is an observation of nothing.

    Raises:
        UnknownMediaType: Neither a form nor JSON.
        Unparsable: Not what the content type says, or a file in it cannot be read.
        WrongInput: A modality is unknown, a value does not fit, or numbers of rows differ.
    """
    if not body:
        return Observations({}, 0)
    media_type, options = parse_options_header(content_type)
    if media_type == MULTIPART.encode():
        columns = _from_parts(model, _read_parts(body, options.get(b"boundary")))
    elif media_type == JSON.encode():
        columns = _from_json(model, body)
    else:
        raise UnknownMediaType(
            f"the body must be {MULTIPART} or {JSON}, got {content_type or 'no content type'}"
        )
    rows = {name: len(column.values) for name, column in columns.items()}
    if len(set(rows.values())) > 1:
        told = ", ".join(f"'{name}' has {count}" for name, count in rows.items())
        raise WrongInput(f"all modalities must have the same number of rows: {told}")
    if not all(rows.values()):
        raise WrongInput(f"{listed(rows)} was sent without a single row")
    return Observations(columns, next(iter(rows.values()), 0))


def _from_parts(model: Model, parts: Parts) -> dict[str, Column]:
    columns = {}
    for name, files in parts.items():
        modality = model.modality(name)
        rows = []
        for index, content in enumerate(files):
            where = f"part '{name}'" + (f", number {index} (counted from 0)" if len(files) > 1 else "")
            rows.append(_located(where, codecs.read_file, modality, content))
        values = np.concatenate(rows)
        columns[name] = Column(values, np.ones(len(values), bool))
    return columns


def _from_json(model: Model, body: bytes) -> dict[str, Column]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unparsable(f"the body is not JSON: {error}") from None
    if (
        not isinstance(document, dict)
        or document.keys() != {"inputs"}
        or not isinstance(document["inputs"], dict)
    ):
        got = f"the fields {sorted(document)}" if isinstance(document, dict) else type(document).__name__
        raise WrongInput(f'the body must be {{"inputs": {{"NAME": [row, …], …}}}}, got {got}')
    columns = {}
    for name, rows in document["inputs"].items():
        modality = model.modality(name)
        if not isinstance(rows, list):
            raise WrongInput(f"inputs.{name} must be a list of rows, got {shown(rows)}")
        columns[name] = _column(modality, rows)
    return columns


def _column(modality: Modality, rows: list[Any]) -> Column:
    present = np.array([row is not None for row in rows], bool)
    values = np.zeros((len(rows), *modality.shape), modality.numpy_dtype)
    for index, row in enumerate(rows):
        if row is not None:
            where = f"inputs.{modality.name}[{index}]"
            values[index] = _located(where, codecs.read_values, modality, [row])[0]
    return Column(values, present)


def _located(where: str, read: Any, *arguments: Any) -> Any:
    """Runs a codec, and says where in the request it failed."""
    try:
        return read(*arguments)
    except UnreadableFile as error:
        raise Unparsable(f"{where}: {error}") from None
    except WrongValue as error:
        raise WrongInput(f"{where}: {error}") from None


def _read_parts(body: bytes, boundary: bytes | None) -> dict[str, list[bytes]]:
    """The parts of a form by name, in the order in which they came.

    Raises:
        Unparsable: It is no form, ends too early, or has a part without a name.
    """
    if not boundary:
        raise Unparsable(f"the content type {MULTIPART} must give a boundary")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise Unparsable(f"the form cannot be read: {error}") from None
    if not form.ended:
        raise Unparsable("the form ends before its closing boundary")
    return form.parts


class _Form:
    """Collects what the parser reports."""

    def __init__(self) -> None:
        self.parts: dict[str, list[bytes]] = {}
        self.ended = False
        self._header = self._value = self._disposition = b""
        self._content: list[bytes] = []

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._disposition, self._content = b"", []

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _on_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise Unparsable("a part of the form has no name; it must be that of a modality")
        name = options[b"name"].decode(errors="replace")
        self.parts.setdefault(name, []).append(b"".join(self._content))

    def _on_end(self) -> None:
        self.ended = True
