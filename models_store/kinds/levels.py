"""Conversion between the 256 levels of a picture or spectrogram and the units of the modality."""

from __future__ import annotations

import numpy as np

from models_store.arrays import Array
from models_store.kinds.fields import ModalityFields


def to_units(modality: ModalityFields, levels: Array) -> Array:
    """Scale levels, 0 … 255, to the modality's range and dtype."""
    low, high = _range(modality)
    if (low, high) == (0.0, 255.0):
        return levels.astype(modality.numpy_dtype)
    scaled = low + (high - low) * (levels / 255)
    return (scaled if modality.numpy_dtype.kind == "f" else np.rint(scaled)).astype(modality.numpy_dtype)


def to_bytes(modality: ModalityFields, values: Array) -> Array:
    """Round values in the modality's units, of any dtype, to the nearest level, 0 … 255."""
    low, high = _range(modality)
    scaled = (np.asarray(values, np.float64) - low) / (high - low) * 255
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _range(modality: ModalityFields) -> tuple[float, float]:
    return modality.range or (0.0, 255.0)
