"""Reads arrays, checks their shape, and converts their dtype without loss."""

from __future__ import annotations

import io
import math
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.lib import format as npy

from models_store.arrays import Array
from models_store.errors import UnreadableFile, WrongValue, first_line, shown
from models_store.kinds.fields import ModalityFields

MAGIC = npy.MAGIC_PREFIX
MAX_AXES = 32
"""Axes of an array in a file, so that the product of its sizes stays a number that can be shown."""


def read_npy(content: bytes, *, text: bool = False) -> Array:
    """Read an array from the bytes of a ``.npy`` file; check its header before allocating memory.

    Arguments:
        content: Bytes of the file.
        text: Whether the array may hold text, see :func:`texts`.

    Raises:
        UnreadableFile: The header is damaged, names pickled objects, or contradicts the data's length.
    """
    shape, fortran, dtype, start = _header(content)
    if dtype.kind not in ("biufUS" if text else "biuf"):
        raise UnreadableFile(f"a .npy must hold numbers or booleans, this one holds {dtype}")
    if max(shape, default=0) > len(content) or len(shape) > MAX_AXES:
        raise UnreadableFile(f".npy header promises the shape {shown(shape)}, {len(content)} bytes came")
    promised, following = math.prod(shape) * dtype.itemsize, len(content) - start
    if promised != following:
        raise UnreadableFile(f".npy header promises {promised} bytes of shape {shape}, {following} follow")
    try:
        return np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    except ValueError:
        raise UnreadableFile(f"no .npy can have the shape {shape}") from None


def holds_text(array: Array) -> bool:
    """Whether an array holds text, in Unicode or as bytes."""
    return array.dtype.kind in "US"


def texts(array: Array) -> list[str]:
    """The elements of an array of text, (n,); bytes are UTF-8.

    Raises:
        WrongValue: The array has another shape, or an element is no text.
    """
    if array.ndim != 1:
        raise WrongValue(f"labels must have the shape (rows,), got an array of shape {array.shape}")
    try:
        return [one.decode() if isinstance(one, bytes) else one for one in array.tolist()]
    except (ValueError, SystemError):  # bytes that are not UTF-8, code points that Unicode does not have
        raise WrongValue("labels must be text in Unicode or UTF-8") from None


def from_lists(modality: ModalityFields, value: Any) -> Array:
    """Read one row from nested lists of numbers; null is NaN.

    Raises:
        WrongValue: The lists are ragged or hold something else than numbers.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise WrongValue("rows of nested arrays must all have the same length") from None
    if array.dtype == object:
        array = _to_floats(modality, array)
    if array.dtype.kind not in "biuf":
        raise WrongValue(f"a {modality.kind} must be nested arrays of numbers, got {shown(value)}")
    return array


def from_numbers(modality: ModalityFields, values: list[Any]) -> Array | None:
    """Read rows from lists that hold only numbers, nested like the shape; None for any other value."""
    try:
        for size in modality.shape[:-1]:
            if set(map(len, values)) != {size}:
                return None
            values = list(chain.from_iterable(values))
        if set(map(len, values)) - {*modality.shape[-1:]}:
            return None
        if modality.dtype == "uint8":  # bytes() is faster, and refuses values outside 0 … 255
            flat = np.frombuffer(b"".join(map(bytes, values)), np.uint8)
        else:
            flat = np.array(list(chain.from_iterable(values)))
    except (TypeError, ValueError):
        return None
    return flat.reshape(-1, *modality.shape) if flat.dtype.kind in "biuf" and flat.ndim == 1 else None


def refuse_booleans(modality: ModalityFields, value: Any) -> None:
    """Refuse true and false among nested numbers, which Python treats as 1 and 0.

    Raises:
        WrongValue: A value is a boolean, and the modality is not boolean.
    """
    left = [] if modality.dtype == "bool" else [value]
    while left:  # a loop, since JSON may be nested deeper than Python recurses
        one = left.pop()
        if isinstance(one, bool):
            raise WrongValue(f"a {modality.kind} is made of numbers, got {shown(one)}")
        left += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()


def from_nested(modality: ModalityFields, value: Any) -> Array:
    """One row from nested lists of numbers, or several from a list of them: (n, *shape), not yet checked.

    Raises:
        WrongValue: The lists are ragged or hold something else than numbers.
    """
    refuse_booleans(modality, value)
    array = from_lists(modality, value)
    return array[None] if array.ndim == len(modality.shape) else array


def rows(modality: ModalityFields, array: Array, cells_may_be_missing: bool) -> Array:
    """Check the shape (n, *shape) and convert the dtype without loss (any float to any float).

    Arguments:
        modality: Modality of the rows.
        array: The rows.
        cells_may_be_missing: NaN is a missing cell, and accepted in a floating-point modality.

    Raises:
        WrongValue: The shape differs, a value would change, or a value is not finite.
    """
    if array.shape[1:] != modality.shape or array.ndim != len(modality.shape) + 1:
        raise WrongValue(f"rows must have the shape {modality.shape}, got an array of shape {array.shape}")
    target = modality.numpy_dtype
    if array.dtype == target and target.kind in "biu":  # no conversion, and always finite
        return array
    with np.errstate(all="ignore"):
        converted = array.astype(target, copy=False)
    if target.kind in "biu" and array.dtype.kind == "f" and np.isnan(array).any():
        raise WrongValue(
            f"a row of {target} has no missing cells, but one is null or NaN; send null for the whole row"
        )
    if not _lossless(array, converted):
        raise WrongValue(f"values of dtype {array.dtype} do not convert to {target} without loss")
    _check_finite(array, converted, cells_may_be_missing)
    return converted


def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, Fortran order, dtype, and offset of the numbers."""
    # Version 1.0 has a length of two bytes. Most clients repeat the same header: cache it.
    length = int.from_bytes(content[8:10], "little")
    if content[6:8] == b"\x01\x00" and length <= 512:
        return _parsed(content[: 10 + length])
    return _parse(content)


def _parse(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    stream = io.BytesIO(content)
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception as error:  # numpy parses the header as Python, which raises many types
        raise UnreadableFile(f"damaged .npy header: {first_line(error)}") from None
    if any(type(size) is not int or size < 0 for size in shape):
        raise UnreadableFile(f"no .npy can have the shape {shown(shape)}")
    return shape, fortran, dtype, stream.tell()


_parsed = lru_cache(maxsize=256)(_parse)


def _check_finite(array: Array, converted: Array, cells_may_be_missing: bool) -> None:
    bad = ~np.isfinite(converted)
    if cells_may_be_missing:
        bad &= ~np.isnan(array)
    if bad.any():
        raise WrongValue(f"values must be finite numbers within {converted.dtype}, got {array[bad][0]}")


def _lossless(array: Array, converted: Array) -> bool:
    if array.dtype.kind == "f" and converted.dtype.kind == "f":
        return True
    # Near 2^53 and 2^63 a float compares equal to a different integer, so equality alone is not enough.
    with np.errstate(all="ignore"):
        back = converted.astype(array.dtype)
    bits = 8 * converted.itemsize - (converted.dtype.kind == "i")
    below = array.dtype.kind != "f" or bool((array < np.float64(2.0**bits)).all())
    return below and np.array_equal(converted, array) and np.array_equal(back, array)


def _to_floats(modality: ModalityFields, array: Array) -> Array:
    """Convert an array of objects: nulls, and integers beyond 64 bits."""
    if not all(item is None or type(item) in (int, float, bool) for item in array.flat):
        raise WrongValue(f"a {modality.kind} must be nested arrays of numbers, got {shown(array.tolist())}")
    try:
        return np.array([math.nan if item is None else float(item) for item in array.flat]).reshape(
            array.shape
        )
    except OverflowError:
        raise WrongValue(f"numbers must be within float64, got {shown(array.tolist())}") from None
