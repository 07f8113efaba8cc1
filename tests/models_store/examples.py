"""Modalities and a manifest that the tests of this package share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import settings

from models_store.errors import InputRefused
from models_store.fusion import Array
from models_store.manifest import Manifest, Modality

# A busy machine is no reason to fail: pytest's own timeout is enough.
settings.register_profile("anyview", deadline=None)
settings.load_profile("anyview")

NumpyArray = np.ndarray[Any, np.dtype[Any]]

LIBRARIES: dict[str, Callable[[NumpyArray], Array]] = {"numpy": np.asarray, "torch": torch.tensor}
"""From a numpy array to the same numbers in each library that the shared formulas must serve."""


def rows_or_refusal(
    read: Callable[[Modality, Any], NumpyArray], modality: Modality, sent: Any
) -> NumpyArray | str:
    """What a reader makes of what was sent: rows, or its sentence; any other exception is a failure."""
    try:
        return read(modality, sent)
    except InputRefused as refused:
        return str(refused)


def image(*shape: int, dtype: str = "uint8", value_range: tuple[float, float] = (0, 255)) -> Modality:
    return Modality(
        name="image",
        kind="image",
        shape=shape,
        dtype=dtype,
        likelihood="bernoulli",
        range=value_range,
    )


def category(*labels: str) -> Modality:
    return Modality(
        name="label",
        kind="category",
        shape=(),
        dtype="int64",
        likelihood="categorical",
        labels=labels,
    )


def array(kind: Any, *shape: int, dtype: str = "float32") -> Modality:
    return Modality(
        name="measured",
        kind=kind,
        shape=shape,
        dtype=dtype,
        likelihood="normal",
    )


def counts(columns: int) -> Modality:
    return Modality(
        name="genes",
        kind="counts",
        shape=(columns,),
        dtype="float32",
        likelihood="negative_binomial",
    )


def mixed_table() -> Modality:
    """A row of a clinic: a number, a count, a number above 0, words, an order of words, numbers as labels."""
    columns = [
        {"name": "pulse", "likelihood": "normal", "unit": "1/min"},
        {"name": "visits", "likelihood": "negative_binomial"},
        {"name": "bilirubin", "likelihood": "log_normal"},
        {"name": "smoker", "likelihood": "categorical", "labels": ("no", "yes")},
        {"name": "stage", "likelihood": "categorical", "labels": ("early", "late"), "ordered": True},
        {"name": "clinic", "likelihood": "categorical", "labels": ("1", "2", "7")},
    ]
    fields = {"name": "patient", "kind": "table", "shape": (6,), "dtype": "float32", "likelihood": "mixed"}
    return Modality.model_validate({**fields, "columns": columns})


def with_columns(*names: str) -> Modality:
    return array("vector", len(names)).with_changes({"columns": [{"name": name} for name in names]})


def audio(dtype: str = "uint8", value_range: tuple[float, float] = (0, 255)) -> Modality:
    """Spoken digits, as in tests/data/fsdd."""
    return Modality.model_validate(
        {
            "name": "sound",
            "kind": "audio",
            "shape": (32, 32),
            "dtype": dtype,
            "likelihood": "bernoulli",
            "range": value_range,
            "spectrogram": {
                "rate": 8000,
                "samples": 8192,
                "window": 512,
                "hop": 256,
                "frames": 32,
                "bands": 32,
                "f_min": 50.0,
                "f_max": 4000.0,
                "floor_db": -80.0,
            },
        }
    )


def manifest(**changes: Any) -> Manifest:
    fields = {
        "name": "digits",
        "version": 1,
        "created": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "latent_dim": 4,
        "modalities": (image(8, 6), category("a", "b", "c"), array("vector", 3), counts(5)),
    }
    return Manifest.model_validate({**fields, **changes})


class WithZeros(NamedTuple):
    """Counts of scipy that are 0 with a further probability, by the definition."""

    counts: Any
    zero: NumpyArray

    def logpmf(self, x: NumpyArray) -> NumpyArray:
        probability: NumpyArray = self.zero * (x == 0) + (1 - self.zero) * self.counts.pmf(x)
        return np.log(probability)

    def mean(self) -> Any:
        return (1 - self.zero) * self.counts.mean()

    def var(self) -> Any:
        squares = self.counts.var() + self.counts.mean() ** 2
        return (1 - self.zero) * squares - self.mean() ** 2
