"""Categories: text is a label, an integer an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models_store.arrays import Array
from models_store.errors import UnreadableFile, WrongValue, shown
from models_store.kinds import table
from models_store.kinds.base import Kind
from models_store.kinds.fields import ModalityFields


def read_text(content: bytes) -> str:
    """Read the label from a form field or text file.

    Raises:
        UnreadableFile: The bytes are not UTF-8.
    """
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise UnreadableFile(
            f"a label must be UTF-8 text, got bytes that begin with {content[:8]!r}"
        ) from None


def rows(modality: ModalityFields, values: Sequence[Any]) -> Array:
    """Indices, (n,), of values that are labels or indices.

    Raises:
        WrongValue: A label or an index does not exist.
    """
    labels = modality.labels or ()
    positions = {label: index for index, label in enumerate(labels)}
    return np.array([_index(value, labels, positions) for value in values], modality.numpy_dtype)


def _index(value: Any, labels: Sequence[str], positions: dict[str, int]) -> int:
    if isinstance(value, str) and value in positions:
        return positions[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(labels):
        return value
    choices = ", ".join(repr(label) for label in labels[:20]) + (", …" if len(labels) > 20 else "")
    raise WrongValue(
        f"must be a label ({choices}) or an index from 0 to {len(labels) - 1}, got {shown(value)}"
    )


class CategoryKind(Kind):
    name = "category"
    fields = frozenset({"labels"})
    tabular = True
    usual_likelihood = "categorical"

    def fits(self, shape: tuple[int, ...]) -> bool:
        return shape == ()

    def read(self, modality: ModalityFields, content: bytes) -> Array:
        return rows(modality, [read_text(content)])

    def read_values(self, modality: ModalityFields, values: list[Any]) -> Array:
        return rows(modality, values)

    def write(self, modality: ModalityFields, samples: Array) -> tuple[str, bytes]:
        """A CSV with a label per draw, or with the probabilities of all labels per mean."""
        labels = list(modality.labels or ())
        if samples.ndim == 1:
            return ".csv", table.write_csv([modality.name], [[labels[int(index)]] for index in samples])
        return ".csv", table.write_csv(labels, samples)
