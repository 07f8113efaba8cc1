"""Fields of a modality in the manifest, before they are checked against its kind."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Dtype = Literal[
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
]


class Frozen(BaseModel):
    """A value of the manifest: immutable, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Column(Frozen):
    """One column of a vector, in its unit."""

    name: str
    unit: str | None = None
    range: tuple[float, float] | None = None


class Spectrogram(Frozen):
    """Parameters of the spectrogram (bands, frames) of a sound.

    Always mono mean, periodic Hann window, half a window of zeros on both sides, power, HTK triangles of
    height 1, +1e-10, decibels below the recording's peak, clipped at ``floor_db`` and rounded.
    """

    rate: int
    """Samples per second."""
    samples: int
    """Length in samples: a longer sound is cut, a shorter one is padded with zeros at its end."""
    window: int
    """Samples."""
    hop: int
    """Samples from one frame to the next."""
    frames: int
    """Number of frames."""
    bands: int
    """Triangles on the mel scale."""
    f_min: float
    """Hz."""
    f_max: float
    """Hz."""
    floor_db: float
    """Decibels relative to the peak; lower levels are set to this one."""


class ModalityFields(Frozen):
    """Fields of a modality that its kind reads and writes rows by."""

    name: Name
    kind: str
    shape: tuple[Annotated[int, Field(gt=0)], ...]
    """Shape of one row, as its kind allows: (H, W) or (H, W, C) for an image, (C,) for a vector, () for a
    category."""
    dtype: Dtype
    likelihood: str
    labels: tuple[str, ...] | None = None
    """Text of each index of a category."""
    columns: tuple[Column, ...] | None = None
    """Columns of a vector or of counts."""
    range: tuple[float, float] | None = None
    """Lowest and highest value, where the kind or the likelihood has them."""
    spectrogram: Spectrogram | None = None

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype)
