"""Intervals and probabilities are corrected row by row, unless the client wants the model's plain."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from models_store.calibration import Calibration, Correction
from service.engine.calibrating import corrections
from service.engine.model import Generated
from service.engine.observations import Column, Observations
from tests.models_store.examples import NumpyArray
from tests.service.test_scoring import model, observed

WIDTHS = np.array([[2.0, 1.0], [2.0, 1.0], [3.0, 0.5]], np.float32)
CALIBRATION = Calibration({"right": {frozenset({"left"}): Correction(100, WIDTHS)}})


def generate(rows: Observations, calibration: Calibration | None = CALIBRATION, **options: Any) -> Generated:
    described = model()
    described.calibration = calibration
    return asyncio.run(described.generate(rows, ["left"], ["right"], seed=1, **options))


def quantiles(answer: Generated) -> NumpyArray:
    return answer.targets["right"]["quantiles"]


def test_quantiles_are_stretched_around_the_median_by_the_factors_of_their_column() -> None:
    rows = observed()
    plain, answered = quantiles(generate(rows, calibrated=False)), quantiles(generate(rows))
    median = plain[:, 2]
    np.testing.assert_allclose(answered[:, 2], median, rtol=1e-5)
    np.testing.assert_allclose(answered[:, 3] - median, WIDTHS[0] * (plain[:, 3] - median), rtol=1e-3)
    np.testing.assert_allclose((answered[:, 0] - median)[:, 0], 3 * (plain[:, 0] - median)[:, 0], rtol=1e-3)
    assert (np.diff(answered, axis=1) >= 0).all()


def test_means_and_samples_are_those_of_the_model() -> None:
    rows = observed()
    plain, answered = (generate(rows, calibrated=c).targets["right"] for c in (False, True))
    for field in ("mean", "std", "samples"):
        np.testing.assert_array_equal(plain[field], answered[field])


def test_a_bundle_without_a_calibration_answers_its_own() -> None:
    rows = observed()
    np.testing.assert_array_equal(
        quantiles(generate(rows, None)), quantiles(generate(rows, calibrated=False))
    )


def test_each_row_is_corrected_by_what_it_has() -> None:
    """Corrections of several sets; one row of three has both, one each."""
    both, one = np.full((3, 2), 5.0, np.float32), np.full((3, 2), 7.0, np.float32)
    calibration = Calibration(
        {
            "right": {
                frozenset({"left", "middle"}): Correction(50, both),
                frozenset({"left"}): Correction(50, one),
            }
        }
    )
    values = np.zeros((3, 3), np.float32)
    columns = {
        "left": Column(values, np.array([True, True, False])),
        "middle": Column(values, np.array([True, False, True])),
    }
    right = model().manifest.modality("right")
    by_row = corrections(calibration, right, ["left", "middle"], Observations(columns, 3))
    assert by_row is not None
    assert by_row.widths[:2, 0, 0].tolist() == [5, 7]
    assert by_row.widths.shape == (3, 3, 2)
    assert corrections(calibration, right, [], Observations({}, 3)) is None


@pytest.mark.parametrize("at", [0, 5])
def test_a_row_is_corrected_alike_alone_and_among_others(at: int) -> None:
    rows = observed()
    alone = {name: Column(column.values[at : at + 1]) for name, column in rows.columns.items()}
    one = generate(Observations(alone, 1, first_row=at))
    np.testing.assert_allclose(quantiles(one)[0], quantiles(generate(rows))[at], rtol=1e-4, atol=1e-5)
