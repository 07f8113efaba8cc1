"""Files and plain values to rows of a modality, and back; one module per kind.

Training and serving read through here, so that they can never read the same picture differently.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np

from models_store.codecs import arrays, audio, category, image, points, table
from models_store.errors import UnreadableFile, WrongValue
from models_store.manifest import Modality

Rows = np.ndarray[Any, np.dtype[Any]]
"""(n, *shape), in the dtype of the modality."""


def read_file(modality: Modality, content: bytes) -> Rows:
    """Rows from one file; what it is, is read from its first bytes.

    Arguments:
        modality: What the rows are to be.
        content: A ``.npy`` with a leading row axis (several rows); or one row: a picture, a sound, a label
            as text; or JSON or CSV of vectors, counts or points.

    Raises:
        UnreadableFile: Nothing of that modality can be read from it; the text says why.
        WrongValue: It can be read, but does not fit.
    """
    if not content:
        raise UnreadableFile("the file is empty")
    if content.startswith(arrays.MAGIC):
        return arrays.rows(modality, arrays.read_npy(content))
    match modality.kind:
        case "category":
            return category.rows(modality, [category.read_text(content)])
        case "image":
            return image.read(modality, content)[None]
        case "audio":
            return audio.read(modality, content)[None]
        case "vector" | "counts":
            return table.read(modality, content)
        case "points":
            return points.read(modality, content)
        case "tensor":
            raise UnreadableFile(f"a tensor must come as .npy, got bytes that begin with {content[:8]!r}")


def read_values(modality: Modality, values: list[Any]) -> Rows:
    """Rows from plain values, none missing: lists, objects by column, labels, indices, base64 of files.

    Raises:
        UnreadableFile: A file in base64 cannot be read.
        WrongValue: A value does not fit.
    """
    if modality.kind == "category":
        return category.rows(modality, values)
    numbers = arrays.from_numbers(modality, values)
    if numbers is not None:
        return arrays.rows(modality, numbers)
    none = np.zeros((0, *modality.shape), modality.numpy_dtype)
    return np.concatenate([none, *(_read_value(modality, value) for value in values)])


def _read_value(modality: Modality, value: Any) -> Rows:
    if isinstance(value, str):
        rows = read_file(modality, _from_base64(value))
        if len(rows) != 1:
            raise WrongValue(f"a base64 value must hold one row, this one holds {len(rows)}")
        return rows
    if isinstance(value, dict) and modality.kind in {"vector", "counts"}:
        return arrays.rows(modality, table.from_object(modality, value)[None])
    return arrays.rows(modality, arrays.from_lists(modality, value)[None])


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableFile(f"text must be base64 of a file, got {text[:20]!r}") from None
