"""Tensors of the protocol: a datatype, a shape, and values in JSON or as bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models_store.arrays import Array
from models_store.errors import listed, shown
from service.errors import Unparsable, WrongInput

BYTES = "BYTES"
DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{
        f"{sign}INT{bits}": np.dtype(f"<{kind}{bits // 8}")
        for sign, kind in (("U", "u"), ("", "i"))
        for bits in (8, 16, 32, 64)
    },
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Little-endian, as the binary extension requires."""
NAMES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in DATATYPES.items()}
MAX_AXES = 16
MAX_ELEMENTS = 2**40
"""Most elements of one tensor: more than any body holds, and products stay within 64 bits."""
MAX_DEPTH = 32
"""Greatest depth of nested lists in 'data' of BYTES."""
LENGTH_BYTES = 4
"""Bytes of the length before every element of a binary BYTES tensor."""


def checked_shape(where: str, shape: Any) -> tuple[int, ...]:
    """Checks and returns the shape of a tensor.

    Raises:
        WrongInput: The shape is not a list of sizes.
    """
    if not isinstance(shape, list) or len(shape) > MAX_AXES:
        raise WrongInput(f"{where}: 'shape' must be a list of at most {MAX_AXES} sizes, got {shown(shape)}")
    elements = 1
    for size in shape:
        if type(size) is not int or not 0 <= size <= MAX_ELEMENTS:
            raise WrongInput(
                f"{where}: 'shape' must be a list of sizes from 0 to {MAX_ELEMENTS}, got {shown(shape)}"
            )
        elements *= max(size, 1)
        if elements > MAX_ELEMENTS:  # before the product needs more than 64 bits
            raise WrongInput(
                f"{where}: 'shape' must have at most {MAX_ELEMENTS} elements, got {shown(shape)}"
            )
    return tuple(shape)


def from_bytes(where: str, datatype: str, shape: tuple[int, ...], content: memoryview) -> Array:
    """Reads a tensor that was sent as bytes; one of BYTES becomes an array of objects.

    Raises:
        WrongInput: The datatype is unknown, or the number of bytes does not fit the shape.
        Unparsable: The elements of a BYTES tensor are cut off.
    """
    if datatype == BYTES:
        return as_objects(where, shape, _elements(where, content))
    dtype = dtype_of(where, datatype)
    expected = math.prod(shape) * dtype.itemsize
    if expected != len(content):
        raise WrongInput(
            f"{where}: {datatype} of shape {list(shape)} has {expected} bytes, {len(content)} were sent"
        )
    if datatype == "BOOL":  # numpy would keep a byte other than 0 and 1 as an invalid boolean
        return np.frombuffer(content, np.uint8).reshape(shape) != 0
    numbers: Array = np.ndarray(shape, dtype, content)
    return numbers if numbers.flags.aligned else numbers.copy()  # the JSON before may have an odd length


def from_json(where: str, datatype: str, shape: tuple[int, ...], values: Any, booleans: bool = True) -> Array:
    """Reads a tensor that was sent as a list, flat or nested; null among floats is NaN.

    Arguments:
        where: Name of the tensor in error messages.
        datatype: Datatype of the protocol.
        shape: Shape that was sent.
        values: The list.
        booleans: Whether it may hold booleans, which takes longer to find than to read its numbers.

    Raises:
        WrongInput: The datatype is unknown, a value does not fit it, or their number does not fit the shape.
    """
    if not isinstance(values, list):
        raise WrongInput(f"{where}: 'data' must be a list, got {shown(values)}")
    if datatype == BYTES:
        return as_objects(where, shape, _flat_texts(where, values))
    dtype = dtype_of(where, datatype)
    if dtype == np.uint8 and (array := _from_octets(values, booleans)) is not None:
        return shaped(where, shape, array)
    try:
        sent = np.asarray(values)
    except ValueError:
        raise WrongInput(f"{where}: nested lists of 'data' must all have the same length") from None
    if sent.dtype == object and dtype.kind == "f":
        sent = _with_nulls(sent)
    with np.errstate(all="ignore"):
        fits = sent.dtype.kind in _KINDS[dtype.kind] and (
            dtype.kind == "f" or np.array_equal(sent.astype(dtype), sent)
        )
    if sent.size and not fits:
        raise WrongInput(f"{where}: 'data' must hold values of {datatype}, got {shown(values)}")
    return shaped(where, shape, sent.astype(dtype))


def _from_octets(values: list[Any], booleans: bool) -> Array | None:
    """Reads a flat list of integers from 0 to 255, a third of the time of numpy; None for another list."""
    if booleans and set(map(type, values)) != {int}:  # bytes() reads true as 1
        return None
    try:
        return np.frombuffer(bytes(values), np.uint8)
    except (TypeError, ValueError):
        return None


def to_bytes(array: Array) -> bytes:
    """Returns the values of a tensor, or its texts, as bytes."""
    if array.dtype.kind != "O":
        return array.tobytes()
    return b"".join(len(text).to_bytes(LENGTH_BYTES, "little") + text for text in array.flat)


def datatype_of(array: Array) -> str:
    return NAMES.get(array.dtype, BYTES)


_KINDS: Mapping[str, str] = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}
"""Kinds of dtype that JSON values may have, by kind of the tensor's dtype."""


def dtype_of(where: str, datatype: Any) -> np.dtype[Any]:
    """Returns the dtype of a datatype other than BYTES.

    Raises:
        WrongInput: The datatype is unknown.
    """
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise WrongInput(
            f"{where}: 'datatype' must be one of {listed([*DATATYPES, BYTES])}, got {shown(datatype)}"
        )
    return DATATYPES[datatype]


def shaped(where: str, shape: tuple[int, ...], array: Array) -> Array:
    """Returns flat values in the shape of their tensor.

    Raises:
        WrongInput: Their number does not fit the shape.
    """
    if array.size != math.prod(shape):
        raise WrongInput(
            f"{where}: the shape {list(shape)} has {math.prod(shape)} elements, 'data' {array.size}"
        )
    return array.reshape(shape)


def as_objects(where: str, shape: tuple[int, ...], elements: Sequence[object]) -> Array:
    """Returns the elements of a BYTES tensor as an array of objects.

    Raises:
        WrongInput: Their number does not fit the shape.
    """
    array = np.empty(len(elements), object)
    array[:] = elements
    return shaped(where, shape, array)


def _elements(where: str, content: memoryview) -> list[bytes]:
    elements: list[bytes] = []
    start = 0
    while start < len(content):
        first = start + LENGTH_BYTES
        stop = first + int.from_bytes(content[start:first], "little")
        if stop > len(content):
            raise Unparsable(f"{where}: element {len(elements)} of BYTES ends behind the tensor")
        elements.append(bytes(content[first:stop]))
        start = stop
    return elements


def _flat_texts(where: str, values: list[Any], depth: int = 1) -> list[str]:
    if depth > MAX_DEPTH:
        raise WrongInput(f"{where}: 'data' may be nested {MAX_DEPTH} lists deep at most")
    flat: list[str] = []
    for value in values:
        if isinstance(value, list):
            flat += _flat_texts(where, value, depth + 1)
        elif isinstance(value, str):
            flat.append(value)
        else:
            raise WrongInput(f"{where}: 'data' of BYTES must hold texts, got {shown(value)}")
    return flat


def _with_nulls(sent: Array) -> Array:
    """Converts an object array of numbers and None to floats, None to NaN; returns others unchanged."""
    if not all(item is None or type(item) in (int, float) for item in sent.flat):
        return sent
    try:
        return np.array([math.nan if item is None else float(item) for item in sent.flat])
    except OverflowError:
        return sent
