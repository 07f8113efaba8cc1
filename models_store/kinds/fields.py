"""Fields of a modality in the manifest, before they are checked against its kind."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from models_store.limits import MOST_AXES, Text
from models_store.tables.dialect import normal

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
    """One column of a vector, of counts or of a table, in its unit."""

    name: Text
    unit: Text | None = None
    range: tuple[float, float] | None = None
    field: Text | None = None
    """Header of the column in the training table, where it is not the name."""
    likelihood: Text | None = None
    """Likelihood of a column of a table; None in other kinds."""
    labels: tuple[Text, ...] | None = None
    """Text of each index of a categorical column of a table."""
    ordered: bool | None = None
    """Whether the labels are in an order, from the lowest to the highest."""


MAX_SPECTROGRAM_SAMPLES = 2**27
"""Samples that the frames of one spectrogram may cover."""


class Spectrogram(Frozen):
    """Parameters of the spectrogram (bands, frames) of a sound.

    Always mono mean, periodic Hann window, half a window of zeros on both sides, power, HTK triangles of
    height 1, +1e-10, decibels below the recording's peak, clipped at ``floor_db`` and rounded.
    """

    rate: Annotated[int, Field(ge=1_000, le=768_000)]
    """Samples per second."""
    samples: Annotated[int, Field(ge=1, le=2**26)]
    """Length in samples: a longer sound is cut, a shorter one is padded with zeros at its end."""
    window: Annotated[int, Field(ge=2, le=2**17)]
    """Samples."""
    hop: Annotated[int, Field(ge=1, le=2**17)]
    """Samples from one frame to the next."""
    frames: Annotated[int, Field(ge=1, le=2**16)]
    """Number of frames."""
    bands: Annotated[int, Field(ge=1, le=2**12)]
    """Triangles on the mel scale."""
    f_min: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Hz."""
    f_max: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Hz."""
    floor_db: Annotated[float, Field(ge=-1_000, lt=0)]
    """Decibels relative to the peak; lower levels are set to this one."""

    @model_validator(mode="after")
    def _consistent(self) -> Spectrogram:
        if not self.f_min < self.f_max <= self.rate / 2:
            raise ValueError(
                f"f_min, f_max and half the rate must rise, got {self.f_min}, {self.f_max}, {self.rate / 2}"
            )
        if self.frames * self.hop + self.window > MAX_SPECTROGRAM_SAMPLES:
            raise ValueError(
                f"{self.frames} frames of hop {self.hop} are longer than {MAX_SPECTROGRAM_SAMPLES} samples"
            )
        return self


class ModalityFields(Frozen):
    """Fields of a modality that its kind reads and writes rows by."""

    name: Name
    kind: Text
    shape: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(max_length=MOST_AXES)]
    """Shape of one row, as its kind allows: (H, W) or (H, W, C) for an image, (C,) for a vector, () for a
    category."""
    dtype: Dtype
    likelihood: Text
    labels: tuple[Text, ...] | None = None
    """Text of each index of a category."""
    columns: tuple[Column, ...] | None = None
    """Columns of a vector, of counts or of a table."""
    range: tuple[float, float] | None = None
    """Lowest and highest value, where the kind or the likelihood has them."""
    spectrogram: Spectrogram | None = None
    field: Text | None = None
    """Header of the column in the training table, for a modality that is one column."""
    background: Annotated[int, Field(ge=0, le=255)] | None = None
    """Level, 0 … 255, of the background of the training pictures, on which transparent pictures are drawn."""

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Names of the cells of a row: its columns, or else numbers from 0."""
        if self.columns:
            return tuple(column.name for column in self.columns)
        return tuple(map(str, range(math.prod(self.shape))))

    @cached_property
    def column_aliases(self) -> dict[str, str]:
        """Names of columns by name and by header in the training table; names come first."""
        headers = {normal(column.field): column.name for column in self.columns or () if column.field}
        return headers | {name: name for name in self.column_names}
