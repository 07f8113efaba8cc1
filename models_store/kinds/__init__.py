"""Kinds of modalities, one module each: files and plain values to rows, and back.

Training and serving read rows through this package, so that both read the same file to the same row.
Code outside asks a kind for its properties (``KINDS[modality.kind].tabular``) and never compares its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from models_store.arrays import Array
from models_store.kinds.audio import AudioKind
from models_store.kinds.base import Kind, MediaKind
from models_store.kinds.category import CategoryKind
from models_store.kinds.counts import CountsKind
from models_store.kinds.fields import ModalityFields
from models_store.kinds.image import ImageKind
from models_store.kinds.mixed import TableKind
from models_store.kinds.points import PointsKind
from models_store.kinds.tensor import TensorKind
from models_store.kinds.vector import VectorKind
from models_store.kinds.video import VideoKind

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            ImageKind(),
            AudioKind(),
            PointsKind(),
            VectorKind(),
            CountsKind(),
            CategoryKind(),
            TableKind(),
            TensorKind(),
            VideoKind(),
        )
    }
)
"""Every kind by its name in a manifest."""

MEDIA: Mapping[str, MediaKind] = MappingProxyType(
    {kind.media: kind for kind in KINDS.values() if isinstance(kind, MediaKind)}
)
"""Kinds that a person looks at or listens to, by the media type of their files."""


def read_file(modality: ModalityFields, content: bytes) -> Array:
    """Rows from one file, (n, *shape), in the modality's dtype.

    Arguments:
        modality: Modality of the rows.
        content: A ``.npy`` of one row, or with a leading row axis of several; or one row: a picture, a sound,
            a video, a label as text; or JSON or CSV of vectors, counts or points.

    Raises:
        UnreadableFile: No row of that modality can be read from the file; the text says why.
        WrongValue: The file can be read, but its values do not fit.
    """
    return KINDS[modality.kind].read_file(modality, content)


def read_values(modality: ModalityFields, values: list[Any]) -> Array:
    """Rows from plain values, none missing: lists, objects by column, labels, indices, base64 of files.

    Raises:
        UnreadableFile: A file in base64 cannot be read.
        WrongValue: A value does not fit.
    """
    return KINDS[modality.kind].read_values(modality, values)


def rows(modality: ModalityFields, array: Array) -> Array:
    """Checked rows, (n, *shape), converted to the modality's dtype without loss.

    Raises:
        WrongValue: The shape differs, a value would change, or a value is not finite (NaN excepted where it
            is a missing cell).
    """
    return KINDS[modality.kind].rows(modality, array)
