"""Messages of inference: requests to observations, outputs to responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from models_store import protobuf
from models_store.arrays import Array
from models_store.errors import listed, shown
from models_store.manifest import Manifest
from service.engine.budget import Allowance
from service.engine.rules import Rules
from service.errors import TooLarge, Unparsable, WrongInput
from service.grpc.schema import InferRequest, InferResponse
from service.oip import requests, tensors
from service.oip.answers import values_of
from service.oip.outputs import Output
from service.oip.requests import LONGEST_KEPT, Head, InferenceRequest, RequestedOutput, Sent

CONTENTS: Mapping[str, tuple[str, type[np.generic]]] = {
    "BOOL": ("bool_contents", np.bool_),
    **dict.fromkeys(("INT8", "INT16", "INT32"), ("int_contents", np.int32)),
    "INT64": ("int64_contents", np.int64),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), ("uint_contents", np.uint32)),
    "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
    tensors.BYTES: ("bytes_contents", np.object_),
}
"""By datatype, the field of ``InferTensorContents`` that holds its values, and their dtype there."""
BYTES_OF_RAW = 3
"""Memory of one byte of ``raw_input_contents``: parsed, as an object, and as rows."""
BYTES_OF_TYPED = 48
"""Memory of one byte of other fields: a value of one byte is parsed, listed as an object, and in an array."""
MOST_HEAD_BYTES = 2**22
"""Bytes of a message outside of its raw tensors, which are parsed to single values."""
MOST_FIELDS = 10_000
"""Fields of a message: raw tensors, inputs, outputs and parameters together."""
ID, RAW = 3, 7
"""Numbers of the fields ``id`` and ``raw_input_contents``."""
FINAL = ("triton_enable_empty_final_response", "triton_final_response")
"""Parameter of a request in a stream that marks the last response to it, and the mark."""


class Parts(NamedTuple):
    """A request, before its tensors are read.

    Arguments:
        model: Name of the model.
        version: Version of the model; None: the newest.
        id: Id that the client gave the request.
        head: The message without its id and its raw tensors, serialized.
        raw: Bytes of the tensors in ``raw_input_contents``.
        final: Whether the client wants the response marked as the last one to its request.
    """

    model: str
    version: str | None
    id: str
    head: bytes
    raw: tuple[bytes, ...]
    final: bool = False


def split(content: bytes, in_stream: bool = False, allowance: Allowance | None = None) -> Parts:
    """Parses a serialized ``ModelInferRequest``, of a stream or not.

    Arguments:
        content: The message.
        in_stream: Whether it is a message of a stream.
        allowance: Memory for this work in a thread; None on the event loop.

    Raises:
        Unparsable: The message is damaged.
        TooLarge: It has too many fields, or too many bytes outside of raw tensors.
    """
    if allowance is not None:
        allowance.take(BYTES_OF_TYPED * _head_bytes(content))
    try:
        message = InferRequest.FromString(content)
    except DecodeError:
        raise _damaged() from None
    final = in_stream and FINAL[0] in message.parameters and message.parameters.pop(FINAL[0]).bool_param
    raw, identifier = tuple(message.raw_input_contents), message.id
    message.ClearField("raw_input_contents")
    message.ClearField("id")
    # Serialized in one order, so that the requests of a client are alike.
    head = message.SerializeToString(deterministic=True)
    return Parts(message.model_name, message.model_version or None, identifier, head, raw, final)


def _head_bytes(content: bytes) -> int:
    """Counts the bytes of a message outside of its raw tensors, before it is parsed.

    Raises:
        Unparsable: The message is damaged.
        TooLarge: It has too many fields, or too many such bytes.
    """
    raw = 0
    try:
        for count, (number, value) in enumerate(protobuf.fields(memoryview(content)), 1):
            raw += len(value) if number == RAW else 0
            if count > MOST_FIELDS:
                raise TooLarge(f"a message may have {MOST_FIELDS} fields, and this one has more")
    except ValueError:
        raise _damaged() from None
    if (head := len(content) - raw) > MOST_HEAD_BYTES:
        raise TooLarge(
            f"a message may have {MOST_HEAD_BYTES} bytes outside of 'raw_input_contents', got {head}; "
            "send raw tensors, or fewer rows"
        )
    return head


def _damaged() -> Unparsable:
    return Unparsable("the message is not a ModelInferRequest: it is damaged")


def identifier(content: bytes) -> str:
    """Returns the id of a request; empty if it has none near its begin, or is damaged."""
    with suppress(ValueError):
        for number, value in islice(protobuf.fields(memoryview(content)), MOST_FIELDS):
            if number == ID:
                return bytes(value).decode()
    return ""


def parse(rules: Rules, parts: Parts, allowance: Allowance | None = None) -> InferenceRequest:
    """Reads the tensors of a request.

    Arguments:
        rules: Rules of the model.
        parts: The request.
        allowance: Memory for this work in a thread; None on the event loop.

    Raises:
        Costly, Unparsable, WrongInput, RequestValidationError, TooLarge: As for :func:`requests.parse`.
    """
    if allowance is not None:
        allowance.take(BYTES_OF_RAW * sum(map(len, parts.raw)))
    head = (_read_once if len(parts.head) <= LONGEST_KEPT else _read)(parts.head)
    arrays = _from_raw(head.inputs, parts.raw) if parts.raw else _from_contents(head.inputs)
    head = head._replace(id=parts.id)
    return InferenceRequest(head, requests.observations(rules, arrays, allowance))


def _read(content: bytes) -> Head:
    """Reads the head of a request; its inputs hold their contents as ``data``."""
    message = InferRequest.FromString(content)
    parameters = _parameters(message)
    parameters.setdefault("binary_data_output", not any(one.HasField("contents") for one in message.inputs))
    inputs = [_input(one) for one in message.inputs]
    outputs = [{"name": one.name, "parameters": _parameters(one)} for one in message.outputs]
    head = requests.read_head({"inputs": inputs, "outputs": outputs, "parameters": parameters})
    if len({one.binary for one in head.outputs}) > 1:
        raise WrongInput(
            "'binary_data' must be the same for all outputs: a response is raw as a whole, or not"
        )
    return head


def _input(tensor: Any) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "datatype": tensor.datatype,
        "data": tensor.contents if tensor.HasField("contents") else None,
        "parameters": _parameters(tensor),
    }


# Clients that send raw tensors repeat the rest of their requests.
_read_once = lru_cache(maxsize=256)(_read)


def _parameters(message: Any) -> dict[str, Any]:
    return {
        name: getattr(value, kind) if (kind := value.WhichOneof("parameter_choice")) else None
        for name, value in message.parameters.items()
    }


def _from_raw(inputs: Sequence[Sent], raw: Sequence[bytes]) -> dict[str, Array]:
    if len(raw) != len(inputs):
        raise WrongInput(
            f"'raw_input_contents' must have one item for each of {len(inputs)} inputs, got {len(raw)}"
        )
    for sent in inputs:
        if sent.data is not None:
            raise WrongInput(f"{sent.where}: 'contents' and 'raw_input_contents' cannot both be sent")
    return {
        sent.name: tensors.from_bytes(sent.where, sent.datatype, sent.shape, memoryview(content))
        for sent, content in zip(inputs, raw, strict=True)
    }


def _from_contents(inputs: Sequence[Sent]) -> dict[str, Array]:
    return {sent.name: _values(sent) for sent in inputs}


def _values(sent: Sent) -> Array:
    """Returns the tensor of an input that is sent as ``contents``; absent contents have no elements."""
    if sent.datatype not in CONTENTS:
        tensors.dtype_of(sent.where, sent.datatype)
        raise WrongInput(f"{sent.where}: {sent.datatype} must be sent in 'raw_input_contents'")
    field, wire = CONTENTS[sent.datatype]
    filled = [] if sent.data is None else [descriptor.name for descriptor, _ in sent.data.ListFields()]
    if filled and filled != [field]:
        raise WrongInput(
            f"{sent.where}: values of {sent.datatype} must be in '{field}', got {listed(filled)}"
        )
    values = list(getattr(sent.data, field)) if filled else []
    if sent.datatype == tensors.BYTES:
        return tensors.as_objects(sent.where, sent.shape, values)
    array, dtype = np.array(values, wire), tensors.dtype_of(sent.where, sent.datatype)
    if dtype.kind in "iu" and not np.array_equal(array.astype(dtype), array):
        raise WrongInput(f"{sent.where}: 'contents' must hold values of {sent.datatype}, got {shown(values)}")
    return tensors.shaped(sent.where, sent.shape, array.astype(dtype, copy=False))


def write(
    manifest: Manifest,
    request_id: str | None,
    parameters: Mapping[str, Any],
    answers: Sequence[tuple[RequestedOutput, Output, Array]],
) -> Any:
    """Makes a ``ModelInferResponse``.

    Arguments:
        manifest: Manifest of the model that answered.
        request_id: Id that the client gave the request.
        parameters: Parameters of the response, such as the seed.
        answers: Requested outputs with their values.

    Raises:
        WrongInput: A classification is requested of an output without labels.
    """
    response = InferResponse(
        model_name=manifest.name, model_version=str(manifest.version), id=request_id or ""
    )
    for name, value in parameters.items():
        set_parameter(response, name, value)
    for requested, output, array in answers:
        values = values_of(manifest, requested, output, array)
        datatype = tensors.datatype_of(values)
        tensor = response.outputs.add(name=output.name, datatype=datatype, shape=values.shape)
        if requested.binary:
            response.raw_output_contents.append(tensors.to_bytes(values))
        else:
            getattr(tensor.contents, CONTENTS[datatype][0]).extend(values.ravel().tolist())
    return response


def set_parameter(response: Any, name: str, value: str | int | bool) -> None:
    """Sets a parameter of a response."""
    field = {str: "string_param", bool: "bool_param", int: "int64_param"}[type(value)]
    setattr(response.parameters[name], field, value)
