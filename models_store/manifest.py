"""The manifest: what a stored model says of itself. Format 1."""

from __future__ import annotations

import math
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from models_store.errors import ManifestError
from models_store.likelihoods import FAMILIES, Likelihood, likelihood

FORMAT: Final = 1
RESERVED = frozenset({"all", "none", "prior"})
"""Words that ``cond_mod`` and ``gen_mod`` give a meaning of their own."""

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
Kind = Literal["image", "audio", "points", "vector", "counts", "category", "tensor"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Column(_Frozen):
    """One column of a vector, in its own unit."""

    name: str
    unit: str | None = None
    range: tuple[float, float] | None = None


class Spectrogram(_Frozen):
    """How a sound becomes (bands, frames).

    Always mono mean, periodic Hann window, half a window of zeros on both sides, power, HTK triangles of
    height 1, +1e-10, decibels below the recording's peak, clipped at ``floor_db`` and rounded.
    """

    rate: int
    """Samples per second."""
    samples: int
    """What is longer is cut, what is shorter is filled with zeros at its end."""
    window: int
    """Samples."""
    hop: int
    """Samples from one frame to the next."""
    frames: int
    """How many of them."""
    bands: int
    """Triangles on the mel scale."""
    f_min: float
    """Hz."""
    f_max: float
    """Hz."""
    floor_db: float
    """Below the loudest: what is quieter counts as this."""


class Modality(_Frozen):
    """One view of a case: the shape of its rows, and the likelihood that its decoder speaks of."""

    name: Name
    kind: Kind
    shape: tuple[Annotated[int, Field(gt=0)], ...]
    """The shape of one row: image (H, W) or (H, W, C), audio (bands, frames), points (P, 2), vector and
    counts (C,), category ()."""
    dtype: Dtype
    likelihood: str
    parameters: tuple[str, ...]
    """The decoder's outputs, by name."""
    labels: tuple[str, ...] | None = None
    """Of a category: the text of each index."""
    columns: tuple[Column, ...] | None = None
    """Of a vector or counts."""
    range: tuple[float, float] | None = None
    """Lowest and highest value, where the kind or the likelihood has them."""
    spectrogram: Spectrogram | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Modality:
        if self.name in RESERVED:
            raise ValueError(f"'{self.name}' is reserved and cannot name a modality")
        if self.likelihood not in FAMILIES:
            raise ValueError(f"unknown likelihood '{self.likelihood}'; known are {', '.join(FAMILIES)}")
        expected = FAMILIES[self.likelihood].parameters
        if self.parameters != expected:
            raise ValueError(f"'{self.likelihood}' has the parameters {expected}, not {self.parameters}")
        if (self.kind == "category") != (self.likelihood == "categorical"):
            raise ValueError("a category goes with the likelihood 'categorical', and only a category")
        if not _possible(self.kind, self.shape):
            raise ValueError(f"{self.shape} cannot be the shape of the kind '{self.kind}'")
        if self.kind == "category":
            _check_labels(self.labels, self.dtype)
        elif self.labels is not None:
            raise ValueError("labels are for a category alone")
        if self.range is not None and not -math.inf < self.range[0] < self.range[1] < math.inf:
            raise ValueError(f"a range must go from low to high, got {self.range}")
        if self.columns is not None and len(self.columns) != math.prod(self.shape):
            raise ValueError(f"{len(self.columns)} columns do not fit the shape {self.shape}")
        return self

    @property
    def distribution(self) -> Likelihood:
        """The likelihood, in this modality's units."""
        return likelihood(self.likelihood, self.range)

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype)

    def with_changes(self, changes: dict[str, Any]) -> Modality:
        """A copy with other values, checked anew; a new likelihood brings its own parameters.

        Raises:
            ManifestError: The values contradict each other.
        """
        name = changes.get("likelihood", self.likelihood)
        parameters = FAMILIES[name].parameters if name in FAMILIES else self.parameters
        try:
            return Modality.model_validate({**self.model_dump(), **changes, "parameters": parameters})
        except ValidationError as error:
            raise ManifestError(f"modality '{self.name}': {_first_message(error)}") from None

    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of one row of each parameter: that of x, for a category (classes,)."""
        return (len(self.labels),) if self.labels else self.shape


class Reference(_Frozen):
    """How held-out rows scored on one question."""

    K: Annotated[int, Field(ge=1)]
    """The importance samples behind each score."""
    rows: Annotated[int, Field(ge=1)]
    quantiles: Annotated[tuple[float, ...], Field(min_length=2)]
    """Of the scores, at equal distances from the lowest to the highest."""
    disagreement: tuple[float, ...] | None = None
    """The same quantiles of the disagreement between the experts."""


class FileEntry(_Frozen):
    """What a file of the bundle must be."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(_Frozen):
    """Everything about a stored model but its numbers."""

    format: Literal[1] = 1
    name: Name
    version: Annotated[int, Field(ge=1)]
    created: datetime
    description: str = ""
    licence: str = ""
    latent_dim: Annotated[int, Field(gt=0)]
    fusion: Literal["poe"] = "poe"
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)]
    files: dict[str, FileEntry] = {}
    trained: dict[str, Any] = {}
    """Experiment, data, seed and versions that it came from."""
    metrics: dict[str, Any] = {}
    reference: dict[str, Reference] | None = None
    """By question (`label|image`, `image,label`) how held-out rows scored."""

    @model_validator(mode="after")
    def _names_differ(self) -> Manifest:
        names = [modality.name for modality in self.modalities]
        if len(set(names)) != len(names):
            raise ValueError(f"modalities must have different names, got {names}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(modality.name for modality in self.modalities)

    def modality(self, name: str) -> Modality:
        """The modality of that name.

        Raises:
            KeyError: There is none.
        """
        for modality in self.modalities:
            if modality.name == name:
                return modality
        raise KeyError(name)

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=2, exclude_none=True).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Reads and checks a manifest.

        Raises:
            ManifestError: It is no JSON, of another format, or says what cannot be.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ManifestError(f"manifest.json: {_first_message(error)}") from None


def _first_message(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if where == "format":
        return f"format is {first['input']!r}, this program reads format {FORMAT}"
    return f"{where}: {first['msg']}" if where else first["msg"]


def _check_labels(labels: tuple[str, ...] | None, dtype: str) -> None:
    if not labels:
        raise ValueError("a category needs labels")
    if len(set(labels)) != len(labels):
        raise ValueError("the labels of a category must differ")
    if dtype != "int64":
        raise ValueError(f"a category must be of dtype int64, got '{dtype}'")


def _possible(kind: Kind, shape: tuple[int, ...]) -> bool:
    match kind:
        case "image":
            return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
        case "audio":
            return len(shape) == 2
        case "points":
            return len(shape) == 2 and shape[1] == 2
        case "vector" | "counts":
            return len(shape) == 1
        case "category":
            return shape == ()
        case "tensor":
            return True


def encoder_file(modality: str) -> str:
    return f"{modality}.encoder.onnx"


def decoder_file(modality: str) -> str:
    return f"{modality}.decoder.onnx"
