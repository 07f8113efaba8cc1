"""Categories: text is a label, an integer the label that reads so, or an index where labels are words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson

from models_store.arrays import Array
from models_store.errors import UnreadableFile, WrongValue, shown
from models_store.kinds import arrays, table
from models_store.kinds.base import Kind
from models_store.kinds.fields import ModalityFields

INTEGER = re.compile(r"([+-]?[0-9]{1,19})(?:\.0*)?")
"""Text of an integer: ``3``, ``-3``, ``3.0``."""


def read_text(content: bytes) -> str:
    """Read the label from a form field or text file.

    Raises:
        UnreadableFile: The bytes are not UTF-8.
    """
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UnreadableFile(
            f"a label must be UTF-8 text, got bytes that begin with {content[:8]!r}"
        ) from None


def split(content: bytes, labels: tuple[str, ...]) -> list[bytes]:
    """Labels of a text: one, also as a JSON string, or several as a JSON list or with commas between them.

    Clients that are generated from the OpenAPI document send a list in one of these forms. A text that is a
    label is one, even with a comma in it; so is a text of which some part is no label.
    """
    if content.startswith(arrays.MAGIC):
        return [content]
    text = content.decode(errors="replace").removeprefix("\ufeff").strip()
    if _is_label(text, labels):
        return [content]
    try:
        parts = orjson.loads(text)
    except orjson.JSONDecodeError:
        parts = [part.strip() for part in text.split(",")]
    parts = [parts] if isinstance(parts, str) else parts
    several = isinstance(parts, list) and parts and all(_is_label(part, labels) for part in parts)
    return [part.encode() for part in parts] if several else [content]


def _is_label(value: Any, labels: tuple[str, ...]) -> bool:
    if not isinstance(value, str):
        return False
    lookup = _lookup(labels)
    return value in lookup.texts or (lookup.all_read and _integer(value) in lookup.integers)


def integers(labels: tuple[str, ...]) -> tuple[int, ...]:
    """Integer that stands for each label in requests and in answers, by index.

    Where every label reads as an integer, such as ``3`` or ``3.0``, it is that integer; otherwise the index.
    """
    read = [_integer(label) for label in labels]
    every = [number for number in read if number is not None]
    return tuple(every) if len(every) == len(labels) else tuple(range(len(labels)))


def samples_as_integers(modality: ModalityFields, samples: Array) -> Array:
    """Samples with the integers of labels instead of indices; probabilities (floats) stay as they are."""
    if samples.dtype.kind == "f":
        return samples
    return np.array(integers(modality.labels or ()), np.int64)[samples]


def rows(modality: ModalityFields, values: Sequence[Any]) -> Array:
    """Indices, (n,), of values that are labels or integers of labels; see :func:`integers`.

    Raises:
        WrongValue: A value stands for no label, or an integer for several.
    """
    labels = modality.labels or ()
    return np.array([index_of(value, labels) for value in values], modality.numpy_dtype)


TRUTHS = {"false": False, "true": True}


class _Lookup(NamedTuple):
    """Indices by the label and by its integer; an integer that several labels read as is left out."""

    texts: Mapping[str, int]
    integers: Mapping[int, int]
    all_read: bool
    """Every label reads as an integer."""
    are_indices: bool
    """The integer of every label is its index."""
    truths: Mapping[bool, int]
    """Indices of the labels that read as truth values, such as ``True``."""


@lru_cache(maxsize=256)
def _lookup(labels: tuple[str, ...]) -> _Lookup:
    codes = integers(labels)
    words = [label.casefold() for label in labels]
    single = {code for code, count in Counter(codes).items() if count == 1}
    return _Lookup(
        {label: index for index, label in enumerate(labels)},
        {code: index for index, code in enumerate(codes) if code in single},
        all(_integer(label) is not None for label in labels),
        codes == tuple(range(len(labels))),
        {truth: words.index(word) for word, truth in TRUTHS.items() if words.count(word) == 1},
    )


def _integer(text: str) -> int | None:
    """The integer that a text reads as, if it is one of at most 64 bits."""
    match = INTEGER.fullmatch(text.strip())
    number = int(match[1]) if match else None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def _as_integer(value: Any) -> int | None:
    """The integer that a text or a float is, as tables with gaps write integers."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return _integer(value) if isinstance(value, str) else None


def index_of(value: Any, labels: tuple[str, ...]) -> int:
    """Index of a label, given as text, as its integer (see :func:`integers`) or as its truth value.

    The text of a truth value has no case where it is no label: ``TRUE`` is the label ``True``.

    Raises:
        WrongValue: The value stands for no label, or an integer for several.
    """
    lookup = _lookup(labels)
    index = lookup.texts.get(value) if isinstance(value, str) else None
    truth = TRUTHS.get(value.casefold()) if isinstance(value, str) else value
    if index is None and isinstance(truth, bool):
        index = lookup.truths.get(truth)
    elif index is None:
        number = value if type(value) is int else _as_integer(value) if lookup.all_read else None
        index = None if number is None else lookup.integers.get(number)
    if index is None:
        accepted = f"a label ({_choices(labels)}){_or_integer(labels)}"
        raise WrongValue(f"must be {accepted}, got {shown(value)}{_hint(value, labels)}")
    return index


def _hint(value: Any, labels: Sequence[str]) -> str:
    """The label that a text is but for case."""
    alike = [one for one in labels if isinstance(value, str) and one.casefold() == value.strip().casefold()]
    return f"; write {alike[0]!r}" if alike else ""


def _from_array(modality: ModalityFields, array: Array, numbers: Array) -> Array:
    """Indices, (n,), of an array that was converted to whole numbers without loss."""
    labels = modality.labels or ()
    lookup = _lookup(labels)
    if lookup.are_indices:
        wrong = array[(numbers < 0) | (numbers >= len(labels))]
        if len(wrong):
            raise WrongValue(f"an index must be between 0 and {len(labels) - 1}, got {wrong[0]}")
        return numbers
    unique, inverse = np.unique(numbers, return_inverse=True)
    indices = rows(modality, unique.tolist())
    return indices[inverse] if len(unique) else numbers


def _choices(labels: Sequence[str]) -> str:
    return ", ".join(shown(label) for label in labels[:20]) + (", …" if len(labels) > 20 else "")


def _or_integer(labels: tuple[str, ...]) -> str:
    lookup = _lookup(labels)
    if lookup.are_indices:
        return f" or an index from 0 to {len(labels) - 1}"
    if len(lookup.integers) < len(labels):
        return ", as text where several labels read as one integer"
    return ", as text or as an integer"


class CategoryKind(Kind):
    name = "category"
    fields = frozenset({"labels"})
    tabular = True
    usual_likelihood = "categorical"

    def fits(self, shape: tuple[int, ...]) -> bool:
        return shape == ()

    def read_file(self, modality: ModalityFields, content: bytes) -> Array:
        # what `read` returns are indices already, an array holds integers of labels
        if content and not content.startswith(arrays.MAGIC):
            return self.read(modality, content)
        return super().read_file(modality, content)

    def read(self, modality: ModalityFields, content: bytes) -> Array:
        return rows(modality, [read_text(content)])

    def read_values(self, modality: ModalityFields, values: list[Any]) -> Array:
        return rows(modality, values)

    def rows(self, modality: ModalityFields, array: Array) -> Array:
        if arrays.holds_text(array):
            return self._from_texts(modality, arrays.texts(array))
        if array.dtype.kind == "b" and _lookup(modality.labels or ()).truths:
            return rows(modality, array.tolist())
        return _from_array(modality, array, super().rows(modality, array))

    @staticmethod
    def _from_texts(modality: ModalityFields, texts: list[str]) -> Array:
        indices = {text: rows(modality, [text])[0] for text in dict.fromkeys(texts)}
        return np.array([indices[text] for text in texts], modality.numpy_dtype)

    def write(self, modality: ModalityFields, samples: Array) -> tuple[str, bytes]:
        """A CSV with a label per draw, or with the probabilities of all labels per mean."""
        labels = list(modality.labels or ())
        if samples.ndim == 1:
            return ".csv", table.write_csv([modality.name], [[labels[int(index)]] for index in samples])
        return ".csv", table.write_csv(labels, samples)
