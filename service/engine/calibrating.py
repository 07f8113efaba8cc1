"""Corrections of intervals and label probabilities, row by row: rows of one request may lack modalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models_store.arrays import Array
from models_store.calibration import COVERAGES, Calibration, Correction, factors_of
from models_store.manifest import Modality
from service.engine.observations import Observations


class RowCorrections(NamedTuple):
    """Corrections of one target for n rows.

    Arguments:
        widths: Factors of interval widths, (n, coverages, factors).
        temperatures: Temperatures of label probabilities, (n, 1).
    """

    widths: Array
    temperatures: Array

    def of(self, rows: slice) -> RowCorrections:
        return RowCorrections(self.widths[rows], self.temperatures[rows])


def corrections(
    calibration: Calibration | None, modality: Modality, condition: Sequence[str], observations: Observations
) -> RowCorrections | None:
    """The corrections of a target, each row by the modalities of the condition that it has.

    None where the bundle has none for this target, and for the prior.
    """
    if calibration is None or not condition:
        return None
    present = np.stack([observations.columns[name].present for name in condition])
    patterns, index = np.unique(present, axis=1, return_inverse=True)
    sets = [[name for name, seen in zip(condition, pattern, strict=True) if seen] for pattern in patterns.T]
    stored = [calibration.of(modality.name, names) for names in sets]
    if all(correction is None for correction in stored):
        return None
    widths = np.stack([_widths(modality, correction) for correction in stored])
    temperatures = np.array([_temperature(correction) for correction in stored])
    return RowCorrections(widths[index.ravel()], temperatures[index.ravel()][:, None])


def _widths(modality: Modality, correction: Correction | None) -> Array:
    if correction is None or correction.widths is None:
        return np.ones((len(COVERAGES), factors_of(modality)), np.float32)
    return correction.widths


def _temperature(correction: Correction | None) -> float:
    return 1.0 if correction is None or correction.temperature is None else correction.temperature
