"""Rows of modalities as the body of a request: npz where all are arrays, else a form or a JSON document."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np

from anyview_client.answers import Array

Inputs: TypeAlias = Mapping[str, Any]
"""By modality: an array (rows first), labels, a data frame of pandas, a column of one, a picture of Pillow, a
path, the bytes of a file, or a list of rows in which None is a missing one. A text is a label."""

NPZ = "application/x-npz"
CSV = "text/csv"


@dataclass(frozen=True)
class Body:
    """A body.

    Arguments:
        media: Content type.
        content: Bytes.
    """

    media: str
    content: bytes


@dataclass(frozen=True)
class _Rows:
    """Rows as an array; those that ``present`` does not select are missing."""

    values: Array
    present: Array | None = None


_Items: TypeAlias = list[bytes | str | None]
"""Files and labels, which arrays in an archive cannot hold; None is a missing row."""


@dataclass(frozen=True)
class _Table:
    """Rows as a data frame of pandas."""

    frame: Any


_Read: TypeAlias = _Rows | _Items | _Table


def body_of(inputs: Inputs) -> Body:
    """Writes rows as the body of a request.

    Raises:
        TypeError: A value is no row.
        ValueError: Rows of one modality differ in shape.
    """
    if is_frame(inputs):
        return Body(CSV, _to_csv(inputs))
    read: dict[str, _Read] = {}
    for name, value in inputs.items():
        try:
            read[name] = _read(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"inputs['{name}']: {error}") from None
    if all(isinstance(value, _Rows) for value in read.values()):
        return Body(NPZ, _archive(read))
    if any(_has_missing(value) for value in read.values()):  # a form cannot say which row is missing
        rows = {name: _to_json(value) for name, value in read.items()}
        return Body("application/json", json.dumps({"inputs": rows}).encode())
    return _form(read)


def is_frame(value: Any) -> bool:
    """Whether a value is a data frame of pandas, which need not be installed."""
    return hasattr(value, "columns") and hasattr(value, "to_csv")


def _read(value: Any) -> _Read:
    if is_frame(value):
        return _Table(value)
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("a masked array; send NaN for missing cells, or a list with None for missing rows")
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OUT":
        return _Rows(value)
    rows = _listed(value)
    present = np.array([row is not None for row in rows], bool)
    given = [row for row in rows if row is not None]
    if any(isinstance(row, str) or _is_file(row) for row in given):
        return [None if row is None else _content(row) for row in rows]
    values = np.array(given)  # raises ValueError where shapes differ
    if values.dtype.kind not in "biuf":
        raise TypeError(f"expected rows of numbers, labels or files, got {type(given[0]).__name__}")
    if present.all():
        return _Rows(values)
    filled = np.zeros((len(rows), *values.shape[1:]), values.dtype)
    filled[present] = values
    return _Rows(filled, present)


def _listed(value: Any) -> list[Any]:
    """Rows as a list with None where one is missing."""
    if hasattr(value, "isna"):  # a column of pandas
        return [None if gone else row for row, gone in zip(value.tolist(), value.isna(), strict=True)]
    if isinstance(value, np.ndarray):
        return list(value)
    if isinstance(value, str | int | float | np.generic) or _is_file(value):
        return [value]
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"expected an array, a list, a data frame or a file, got {type(value).__name__}")


def _is_file(value: Any) -> bool:
    return isinstance(value, bytes | bytearray | memoryview | Path) or _is_picture(value)


def _is_picture(value: Any) -> bool:
    return hasattr(value, "getexif") and hasattr(value, "save")


def _content(value: Any) -> bytes | str:
    """A label, or the bytes of a file; a picture of Pillow as PNG, with the note of how it is turned."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Path):
        return value.read_bytes()
    if _is_picture(value):
        stream = io.BytesIO()
        value.save(stream, "PNG", compress_level=1, exif=value.getexif())
        return stream.getvalue()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"expected labels or files, got {type(value).__name__} among them")


def _has_missing(value: _Read) -> bool:
    if isinstance(value, _Rows):
        return value.present is not None
    return isinstance(value, list) and None in value


def _to_csv(frame: Any) -> bytes:
    return str(frame.to_csv(index=False)).encode()


def _archive(read: Mapping[str, _Read]) -> bytes:
    arrays: dict[str, Array] = {}
    for name, rows in read.items():
        assert isinstance(rows, _Rows)  # noqa: S101 - the caller has asked
        arrays[name] = rows.values
        if rows.present is not None:
            arrays[f"mask.{name}"] = rows.present
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _form(read: Mapping[str, _Read]) -> Body:
    boundary = uuid4().hex
    pieces = []
    for name, value in read.items():
        for content in _parts(value):
            head = f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'
            pieces += [head.encode(), content, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return Body(f"multipart/form-data; boundary={boundary}", b"".join(pieces))


def _parts(value: _Read) -> list[bytes]:
    if isinstance(value, _Table):
        return [_to_csv(value.frame)]
    if isinstance(value, _Rows):
        stream = io.BytesIO()
        np.save(stream, value.values, allow_pickle=False)
        return [stream.getvalue()]
    return [item.encode() if isinstance(item, str) else item for item in value if item is not None]


def _to_json(value: _Read) -> list[Any]:
    if isinstance(value, _Table):
        return list(json.loads(value.frame.to_json(orient="records")))
    if isinstance(value, _Rows):
        rows = _without_nan(value.values.tolist())
        present = value.present
        return (
            rows
            if present is None
            else [row if seen else None for row, seen in zip(rows, present, strict=True)]
        )
    return [base64.b64encode(item).decode() if isinstance(item, bytes) else item for item in value]


def _without_nan(value: Any) -> Any:
    """Nested lists with None for NaN, which JSON lacks."""
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if value != value else value
