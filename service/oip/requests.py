"""A request of the protocol to a question for the engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models_store import kinds
from models_store.errors import listed, shown
from models_store.manifest import Modality
from service.engine.observations import Column, Observations
from service.engine.rules import Rules
from service.errors import Unparsable, WrongInput, located
from service.formats import archive, bodies
from service.oip import tensors
from service.oip.tensors import Array
from service.schemas import Names

FIELDS = ("id", "inputs", "outputs", "parameters")
LONGEST_NAME = 80
"""Characters that an error shows of a name that was sent."""
LONGEST_KEPT = 4096
"""Bytes of JSON that are remembered with what they say."""
UNSUPPORTED = ("sequence_id", "sequence_start", "sequence_end", "priority")
"""Parameters of the protocol that nothing here corresponds to."""


class Parameters(BaseModel):
    """How to answer: those of /encode and /generate that do not depend on the form of the answer."""

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


class Wanted(NamedTuple):
    """An output that was asked for.

    Arguments:
        name: Of the output.
        binary: Whether it is sent as bytes.
        classes: How many of the likeliest labels are wanted in place of the numbers; 0: the numbers.
    """

    name: str
    binary: bool
    classes: int = 0


class Sent(NamedTuple):
    """An input as the JSON of a request tells of it.

    Arguments:
        name: A modality, or the mask of one.
        where: How an error calls it.
        datatype: As the protocol calls it.
        shape: As it was sent.
        size: How many bytes behind the JSON it takes; None: its numbers are in the JSON.
        data: Its numbers, where they are there.
    """

    name: str
    where: str
    datatype: Any
    shape: tuple[int, ...]
    size: int | None
    data: Any


class Head(NamedTuple):
    """What the JSON of a request says.

    Arguments:
        id: The client's own name for the request.
        parameters: How to answer.
        inputs: What is sent.
        outputs: What to answer; empty: everything.
    """

    id: str | None
    parameters: Parameters
    inputs: tuple[Sent, ...]
    outputs: tuple[Wanted, ...]


class Question(NamedTuple):
    """What was asked.

    Arguments:
        head: What its JSON says.
        observed: The inputs, by modality.
    """

    head: Head
    observed: Observations


def parse(rules: Rules, body: bytes, header_length: str | None) -> Question:
    """The question in a body: JSON, and behind it the tensors that are sent as bytes.

    Arguments:
        rules: Of the model whose modalities the inputs are.
        body: Of the request.
        header_length: The header Inference-Header-Content-Length: how much of it is JSON. None: all.

    Raises:
        Unparsable: It is no JSON, or a file in it cannot be read.
        WrongInput: It is another document, an input is unknown, or a value does not fit.
        RequestValidationError: A parameter is unknown, or has a value that it cannot have.
        TooLarge: It has too many rows.
    """
    length = _length(header_length, len(body))
    known = header_length is not None and length <= LONGEST_KEPT
    head = (_read_once if known else _read)(body[:length])
    return Question(head, _observations(rules, _tensors(head.inputs, memoryview(body)[length:])))


def _read(content: bytes) -> Head:
    """What the JSON says, its fields checked."""
    head = _fields(content)
    parameters = _parameters(head.get("parameters", {}))
    inputs: dict[str, Sent] = {}
    for item in _list("inputs", head):
        sent = _sent(item, inputs)
        inputs[sent.name] = sent
    name = head.get("id")
    if name is not None and not isinstance(name, str):
        raise WrongInput(f"'id' must be text, got {shown(name)}")
    outputs = tuple(_wanted(output, parameters.binary_data_output) for output in _list("outputs", head))
    return Head(name, parameters, tuple(inputs.values()), outputs)


# Whoever sends tensors as bytes sends the same JSON before them again and again.
_read_once = lru_cache(maxsize=256)(_read)


def _length(told: str | None, whole: int) -> int:
    if told is None:
        return whole
    # A length of more digits than the body's own is too large, whatever Python makes of the number.
    if not told.isdecimal() or len(told) > len(str(whole)) or int(told) > whole:
        raise Unparsable(
            f"Inference-Header-Content-Length must be at most the body's {whole} bytes, got {shown(told)}"
        )
    return int(told)


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
    found = head.get(field, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise WrongInput(f"'{field}' must be a list of objects, got {shown(found)}")
    return found


def _parameters(sent: Any) -> Parameters:
    if not isinstance(sent, dict):
        raise WrongInput(f"'parameters' must be an object, got {shown(sent)}")
    for name in UNSUPPORTED:
        if name in sent:
            raise WrongInput(f"parameter '{name}' is not supported: questions do not depend on each other")
    try:
        return Parameters.model_validate(sent)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise RequestValidationError([{**one, "loc": ("parameters", *one["loc"])} for one in found]) from None


def _wanted(output: dict[str, Any], binary: bool) -> Wanted:
    name, own = output.get("name"), output.get("parameters", {})
    if not isinstance(name, str) or not isinstance(own, dict):
        raise WrongInput(
            f"every output must have a 'name', and 'parameters' only as an object, got {shown(output)}"
        )
    where = f"output '{name[:LONGEST_NAME]}'"
    _refuse_shared_memory(where, own)
    classes, binary = own.get("classification", 0), own.get("binary_data", binary)
    if type(classes) is not int or classes < 0 or type(binary) is not bool:
        raise WrongInput(
            f"{where}: 'classification' must be a count and 'binary_data' a boolean, got {shown(own)}"
        )
    return Wanted(name, binary, classes)


def _refuse_shared_memory(where: str, own: Mapping[str, Any]) -> None:
    if "shared_memory_region" in own:
        raise WrongInput(f"{where}: shared memory is not supported; send tensors in the body")


def _sent(item: dict[str, Any], others: Collection[str]) -> Sent:
    name, own = item.get("name"), item.get("parameters", {})
    if not isinstance(name, str) or name in others or not isinstance(own, dict):
        raise WrongInput(f"every input must have a 'name' of its own, got {shown(name)}")
    where, size = f"input '{name[:LONGEST_NAME]}'", own.get("binary_data_size")
    _refuse_shared_memory(where, own)
    if size is not None and (type(size) is not int or size < 0):
        raise WrongInput(f"{where}: 'binary_data_size' must be a number of bytes, got {shown(size)}")
    shape = tensors.checked_shape(where, item.get("shape"))
    return Sent(name, where, item.get("datatype"), shape, size, item.get("data"))


def _tensors(inputs: Sequence[Sent], rest: memoryview) -> dict[str, Array]:
    """The tensors of a request by name."""
    found: dict[str, Array] = {}
    start = 0
    for sent in inputs:
        if sent.size is None:
            found[sent.name] = tensors.from_json(sent.where, sent.datatype, sent.shape, sent.data)
            continue
        stop = start + sent.size
        if stop > len(rest):
            raise WrongInput(
                f"{sent.where}: 'binary_data_size' must be at most the {len(rest) - start} bytes that are "
                f"left, got {sent.size}"
            )
        found[sent.name] = tensors.from_bytes(sent.where, sent.datatype, sent.shape, rest[start:stop])
        start = stop
    if start != len(rest):
        raise WrongInput(f"{len(rest) - start} bytes behind the tensors belong to no input")
    return found


def _observations(rules: Rules, sent: Mapping[str, Array]) -> Observations:
    names = [name for name in sent if not name.startswith(archive.MASK)]
    for mask in sent.keys() - names:
        if mask.removeprefix(archive.MASK) not in names:
            raise WrongInput(f"input {shown(mask)} is the mask of nothing; the inputs are {listed(names)}")
    return bodies.together(
        {name: _column(rules, name, sent[name], sent.get(archive.MASK + name)) for name in names}
    )


def _column(rules: Rules, name: str, tensor: Array, mask: Array | None) -> Column:
    modality, texts = rules.modality(name), tensor.dtype.kind == "O"
    if (texts or not modality.shape) and tensor.ndim == 2 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]  # many clients know no tensors of one axis
    rules.check_rows(len(tensor) if tensor.ndim else 0)
    read = _from_texts if texts else archive.column
    return read(modality, tensor, mask, f"input '{name}'")


def _from_texts(modality: Modality, tensor: Array, mask: Array | None, where: str) -> Column:
    """Labels as text; of other kinds files: as they are, or in JSON their base64."""
    if tensor.ndim != 1:
        raise WrongInput(f"{where}: BYTES must have the shape [rows], got {list(tensor.shape)}")
    archive.check_mask(mask, len(tensor), where)
    values = np.zeros((len(tensor), *modality.shape), modality.numpy_dtype)
    for row in range(len(tensor)) if mask is None else np.flatnonzero(mask):
        item = tensor[row]
        read, content = (kinds.read_file, item) if isinstance(item, bytes) else (kinds.read_values, [item])
        found = located(f"{where}, row {row} (counted from 0)", read, modality, content)
        if len(found) != 1:
            raise WrongInput(
                f"{where}, row {row} (counted from 0): a file must hold one row, this one {len(found)}"
            )
        values[row] = found[0]
    return Column(values, mask)
