"""Requests of the protocol, read to observations and parameters for the engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models_store import kinds
from models_store.arrays import Array
from models_store.errors import listed, shown
from models_store.manifest import Modality
from service.engine.budget import Allowance, Costly
from service.engine.observations import Column, Observations
from service.engine.rules import Rules
from service.engine.workers import COPIED, FEW
from service.errors import Unparsable, WrongInput, located
from service.formats import archive, bodies, document, pixels
from service.oip import tensors
from service.schemas import Names

FIELDS = ("id", "inputs", "outputs", "parameters")
LONGEST_NAME = 80
"""Characters that an error shows of a name that was sent."""
LONGEST_KEPT = 4096
"""Largest JSON of a request that is kept parsed, in bytes."""
JSON_ON_LOOP = 2**16
"""Bytes of JSON that are read on the event loop: lists of numbers, in some 1 ms."""
BYTES_OF_TENSORS = 2
"""Memory of one byte of binary tensors: their rows may be copied."""
UNSUPPORTED = ("sequence_id", "sequence_start", "sequence_end", "priority")
"""Parameters of the protocol that this service has no counterpart of."""


class Parameters(BaseModel):
    """Parameters of a request: those of /encode and /generate that do not depend on the media type."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cond_mod: Names = ["all"]
    gen_mod: Names = ["all"]
    N: int = Field(1, ge=1)
    K: int = Field(100, ge=1)
    seed: int | None = Field(None, ge=0, lt=2**53)
    return_mean: bool = False
    noise: bool = False
    prior: Literal["standard", "mixture"] = "standard"
    n_data: int | None = Field(None, ge=1)
    timeout: int | None = Field(None, ge=1)
    """Microseconds."""
    binary_data_output: bool = False


class RequestedOutput(NamedTuple):
    """An output that a request names.

    Arguments:
        name: Name of the output.
        binary: Whether it is sent as bytes.
        classes: Number of most probable labels to send in place of the values; 0: the values.
    """

    name: str
    binary: bool
    classes: int = 0


class Sent(NamedTuple):
    """An input as the JSON of a request describes it.

    Arguments:
        name: Name of a modality, or of its mask.
        where: Its name in error messages.
        datatype: Datatype of the protocol.
        shape: Shape that was sent.
        size: Bytes of the tensor after the JSON; None: its values are in the JSON.
        data: Values in the JSON, if any.
    """

    name: str
    where: str
    datatype: Any
    shape: tuple[int, ...]
    size: int | None
    data: Any


class Head(NamedTuple):
    """JSON of a request, parsed.

    Arguments:
        id: Id that the client gave the request.
        parameters: Parameters of the request.
        inputs: Descriptions of the inputs.
        outputs: Requested outputs; empty: the usual ones.
    """

    id: str | None
    parameters: Parameters
    inputs: tuple[Sent, ...]
    outputs: tuple[RequestedOutput, ...]


class InferenceRequest(NamedTuple):
    """A request, parsed.

    Arguments:
        head: JSON of the request.
        observed: Inputs, by modality.
    """

    head: Head
    observed: Observations


def parse(
    rules: Rules, body: bytes, header_length: str | None, allowance: Allowance | None = None
) -> InferenceRequest:
    """Reads a body: JSON, followed by the tensors that are sent as bytes.

    Arguments:
        rules: Rules of the model.
        body: Body of the request.
        header_length: Header Inference-Header-Content-Length, the bytes of the JSON; None: the whole body.
        allowance: Memory for this work in a thread; None on the event loop.

    Raises:
        Costly: It takes too long for the event loop.
        Unparsable: The JSON is damaged, or a file in it cannot be read.
        WrongInput: The document has another structure, an input is unknown, or a value does not fit.
        RequestValidationError: A parameter is unknown, or has a wrong value.
        TooLarge: There are too many rows.
    """
    length = _length(header_length, len(body))
    if allowance is None:
        if length > JSON_ON_LOOP or len(body) > FEW * COPIED:
            raise Costly
    elif len(body) > document.COUNTED_BYTES:
        allowance.take(document.memory(body, length) + BYTES_OF_TENSORS * (len(body) - length))
    cacheable = header_length is not None and length <= LONGEST_KEPT
    head = (_read_once if cacheable else _read)(body[:length])
    texts = [one for one in head.inputs if one.datatype == tensors.BYTES]
    if texts and allowance is None and len(body) > FEW:
        raise Costly  # an object for each element
    for one in texts:
        rules.check_rows(math.prod(one.shape))
    booleans = body.find(b"true", 0, length) >= 0 or body.find(b"false", 0, length) >= 0
    sent = _tensors(head.inputs, memoryview(body)[length:], booleans)
    return InferenceRequest(head, observations(rules, sent, allowance))


def _read(content: bytes) -> Head:
    """Parses the JSON and checks its fields."""
    return read_head(_fields(content))


def read_head(head: Mapping[str, Any]) -> Head:
    """Checks the fields of a request.

    Arguments:
        head: The object that the JSON of a request holds.

    Raises:
        WrongInput: A field has another structure.
        RequestValidationError: A parameter is unknown, or has a wrong value.
    """
    parameters = _parameters(head.get("parameters", {}))
    inputs: dict[str, Sent] = {}
    for item in _list("inputs", head):
        sent = _sent(item, inputs)
        inputs[sent.name] = sent
    name = head.get("id")
    if name is not None and not isinstance(name, str):
        raise WrongInput(f"'id' must be text, got {shown(name)}")
    outputs: dict[str, RequestedOutput] = {}
    for item in _list("outputs", head):
        output = _requested_output(item, parameters.binary_data_output)
        if output.name in outputs:
            raise WrongInput(f"output {listed([output.name])} is requested twice")
        outputs[output.name] = output
    return Head(name, parameters, tuple(inputs.values()), tuple(outputs.values()))


# Clients that send tensors as bytes repeat the JSON before them.
_read_once = lru_cache(maxsize=256)(_read)


def _length(header: str | None, whole: int) -> int:
    if header is None:
        return whole
    # Python refuses to convert very long numbers; one with more digits than the body's size is too large.
    if not header.isdecimal() or len(header) > len(str(whole)) or int(header) > whole:
        raise Unparsable(
            f"Inference-Header-Content-Length must be at most the body's {whole} bytes, got {shown(header)}"
        )
    return int(header)


def _fields(content: bytes) -> dict[str, Any]:
    try:
        head = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Unparsable(f"the request is not JSON: {error}") from None
    if not isinstance(head, dict):
        raise WrongInput(f'the request must be {{"inputs": […], …}}, got {shown(head)}')
    for field in head:
        if field not in FIELDS:
            raise WrongInput(f"unknown field {shown(field)} in the request; there are {listed(FIELDS)}")
    return head


def _list(field: str, head: Mapping[str, Any]) -> list[Any]:
    items = head.get(field, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise WrongInput(f"'{field}' must be a list of objects, got {shown(items)}")
    return items


def _parameters(sent: Any) -> Parameters:
    if not isinstance(sent, dict):
        raise WrongInput(f"'parameters' must be an object, got {shown(sent)}")
    for name in UNSUPPORTED:
        if name in sent:
            raise WrongInput(f"parameter '{name}' is not supported: requests do not depend on each other")
    try:
        return Parameters.model_validate(sent)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise RequestValidationError(
            [{**one, "loc": ("parameters", *one["loc"])} for one in errors]
        ) from None


def _requested_output(output: dict[str, Any], binary: bool) -> RequestedOutput:
    name, parameters = output.get("name"), output.get("parameters", {})
    if not isinstance(name, str) or not isinstance(parameters, dict):
        raise WrongInput(
            f"every output must have a 'name', and 'parameters' only as an object, got {shown(output)}"
        )
    where = f"output '{name[:LONGEST_NAME]}'"
    _refuse_shared_memory(where, parameters)
    classes, binary = parameters.get("classification", 0), parameters.get("binary_data", binary)
    if type(classes) is not int or classes < 0 or type(binary) is not bool:
        raise WrongInput(
            f"{where}: 'classification' must be a count and 'binary_data' a boolean, got {shown(parameters)}"
        )
    return RequestedOutput(name, binary, classes)


def _refuse_shared_memory(where: str, parameters: Mapping[str, Any]) -> None:
    if "shared_memory_region" in parameters:
        raise WrongInput(f"{where}: shared memory is not supported; send tensors in the body")


def _sent(item: dict[str, Any], others: Collection[str]) -> Sent:
    name, parameters = item.get("name"), item.get("parameters", {})
    if not isinstance(name, str) or name in others or not isinstance(parameters, dict):
        raise WrongInput(f"every input must have a 'name' of its own, got {shown(name)}")
    where, size = f"input '{name[:LONGEST_NAME]}'", parameters.get("binary_data_size")
    _refuse_shared_memory(where, parameters)
    if size is not None and (type(size) is not int or size < 0):
        raise WrongInput(f"{where}: 'binary_data_size' must be a number of bytes, got {shown(size)}")
    shape = tensors.checked_shape(where, item.get("shape"))
    return Sent(name, where, item.get("datatype"), shape, size, item.get("data"))


def _tensors(inputs: Sequence[Sent], rest: memoryview, booleans: bool) -> dict[str, Array]:
    """Returns the tensors of a request by name; without booleans in the JSON, none is looked for in lists."""
    arrays: dict[str, Array] = {}
    start = 0
    for sent in inputs:
        if sent.size is None:
            arrays[sent.name] = tensors.from_json(sent.where, sent.datatype, sent.shape, sent.data, booleans)
            continue
        stop = start + sent.size
        if stop > len(rest):
            raise WrongInput(
                f"{sent.where}: 'binary_data_size' must be at most the {len(rest) - start} bytes that are "
                f"left, got {sent.size}"
            )
        arrays[sent.name] = tensors.from_bytes(sent.where, sent.datatype, sent.shape, rest[start:stop])
        start = stop
    if start != len(rest):
        raise WrongInput(f"{len(rest) - start} bytes behind the tensors belong to no input")
    return arrays


def observations(rules: Rules, sent: Mapping[str, Array], allowance: Allowance | None) -> Observations:
    """Joins the tensors of a request.

    Arguments:
        rules: Rules of the model.
        sent: Tensors of modalities and of their masks, by name.
        allowance: Memory for this work in a thread; None on the event loop.

    Raises:
        Costly, Unparsable, WrongInput, TooLarge: As for :func:`parse`.
    """
    names = [name for name in sent if not name.startswith(archive.MASK)]
    for mask in sent.keys() - names if len(names) < len(sent) else ():
        if mask.removeprefix(archive.MASK) not in names:
            raise WrongInput(f"input {shown(mask)} is the mask of nothing; the inputs are {listed(names)}")
    texts = {name: [*sent[name].flat] for name in names if sent[name].dtype.kind == "O"}
    if texts:
        pixels.check(rules, texts, allowance)
    check = allowance.check if allowance is not None else _nothing
    return bodies.together(
        {
            modality: _column(rules, name, sent[name], sent.get(archive.MASK + name), check)
            for modality, name in rules.by_modality({name: name for name in names}).items()
        }
    )


def _nothing() -> None: ...


def _column(rules: Rules, name: str, tensor: Array, mask: Array | None, check: Callable[[], None]) -> Column:
    modality, texts = rules.modality(name), tensor.dtype.kind == "O"
    if (texts or not modality.shape) and tensor.ndim == 2 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]  # many clients send two axes where the protocol allows one
    rules.check_rows(len(tensor) if tensor.ndim else 0)
    if texts:
        return _from_texts(modality, tensor, mask, f"input '{name}'", check)
    return archive.column(modality, tensor, mask, f"input '{name}'")


def _from_texts(
    modality: Modality, tensor: Array, mask: Array | None, where: str, check: Callable[[], None]
) -> Column:
    """Reads labels as text; other kinds as files: bytes, or base64 in JSON."""
    if tensor.ndim != 1:
        raise WrongInput(f"{where}: BYTES must have the shape [rows], got {list(tensor.shape)}")
    archive.check_mask(mask, len(tensor), where)
    values = np.zeros((len(tensor), *modality.shape), modality.numpy_dtype)
    for row in range(len(tensor)) if mask is None else np.flatnonzero(mask):
        check()
        item = tensor[row]
        read, content = (kinds.read_file, item) if isinstance(item, bytes) else (kinds.read_values, [item])
        rows = located(f"{where}, row {row} (counted from 0)", read, modality, content)
        if len(rows) != 1:
            raise WrongInput(
                f"{where}, row {row} (counted from 0): a file must hold one row, this one {len(rows)}"
            )
        values[row] = rows[0]
    return Column(values) if mask is None else Column.masked(values, mask)
