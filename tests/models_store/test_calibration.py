"""Corrected intervals cover what they say, of rows that did not correct them."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from scipy.stats import norm

from models_store.calibration import (
    COVERAGES,
    Calibration,
    Correction,
    Intervals,
    Typical,
    corrected,
    learned_temperature,
    learned_widths,
    own_intervals,
    tempered,
)
from models_store.errors import BundleRefused
from models_store.manifest import Modality
from tests.models_store.examples import NumpyArray, array, category, counts, image, manifest

MODALITIES = (array("vector", 3).model_copy(update={"name": "v"}), image(2, 2), category("a", "b", "c"))


def covered(modality: Modality, intervals: Intervals, x: NumpyArray, widths: NumpyArray) -> NumpyArray:
    """Share of cells within the intervals of each coverage: (coverages, *shape)."""
    low, high = corrected(modality, intervals, widths[None])
    return np.asarray(((low <= x[:, None]) & (x[:, None] <= high)).mean(axis=0))


def predicted(modality: Modality, x: NumpyArray, std: float, seed: int) -> Intervals:
    """Intervals of a model that claims this standard deviation around 0 for every row."""
    mean = np.zeros_like(x)
    drawn = np.random.default_rng(seed).normal(0, std, (len(x), 400, *x.shape[1:]))
    return own_intervals(modality, mean, np.full_like(x, std), lambda: drawn)


@pytest.mark.parametrize("claimed", [0.3, 1.0, 4.0])
def test_each_column_covers_what_it_says_however_wrong_the_model_is(claimed: float) -> None:
    """The true standard deviations are 1, 2 and 1/2; the model claims one for all three columns."""
    vector, rng = MODALITIES[0], np.random.default_rng(0)
    x, new = (rng.standard_normal((n, 3)) * [1, 2, 0.5] for n in (1000, 4000))
    widths = learned_widths(vector, predicted(vector, x, claimed, 1), x)
    assert widths is not None
    assert widths.shape == (3, 3)
    shares = covered(vector, predicted(vector, new, claimed, 2), new, widths)
    np.testing.assert_allclose(shares, np.broadcast_to(np.array(COVERAGES)[:, None], (3, 3)), atol=0.04)


def test_a_few_rows_cover_at_least_what_they_say_on_average() -> None:
    """Split-conformal intervals of 20 rows, over 300 repeats of the calibration."""
    vector, rng = array("vector", 1), np.random.default_rng(0)
    shares = []
    for _ in range(300):
        x = rng.standard_normal((20, 1))
        widths = learned_widths(vector, Intervals(np.zeros((20, 1)), *np.ones((2, 20, 3, 1))), x)
        assert widths is not None
        shares.append(2 * norm.cdf(widths[:, 0]) - 1)
    assert (np.mean(shares, axis=0) >= np.array(COVERAGES) - 0.01).all()


def test_cells_of_a_picture_share_a_factor_and_grey_values_are_covered() -> None:
    """Draws of a grey pixel are black or white; its corrected interval is around the mean."""
    picture, rng = image(2, 2), np.random.default_rng(0)
    mean = rng.uniform(40, 215, (2000, 2, 2))
    std = np.sqrt(mean * (255 - mean))
    x = np.clip(mean + 0.2 * std * rng.standard_normal(mean.shape), 0, 255)
    intervals = own_intervals(picture, mean, std, lambda: np.zeros(()))
    widths = learned_widths(picture, Intervals(*(part[:1000] for part in intervals)), x[:1000])
    assert widths is not None
    assert widths.shape == (3, 1)
    low, high = corrected(picture, Intervals(*(part[1000:] for part in intervals)), widths[None])
    assert (low >= 0).all()
    assert (high <= 255).all()
    inside = (low <= x[1000:, None]) & (x[1000:, None] <= high)
    np.testing.assert_allclose(inside.mean(axis=(0, 2, 3)), COVERAGES, atol=0.03)


def test_intervals_of_counts_are_not_below_zero() -> None:
    genes, rng = counts(2), np.random.default_rng(0)
    x = rng.poisson(3, (500, 2)).astype(float)
    intervals = own_intervals(genes, np.full((500, 2), 3.0), np.full((500, 2), 4.0), lambda: x)
    widths = learned_widths(genes, intervals, x)
    assert widths is not None
    low, high = corrected(genes, intervals, widths[None])
    assert low.min() == 0
    assert ((low[:, 2] <= x) & (x <= high[:, 2])).mean() >= 0.9


def test_missing_cells_do_not_count_and_a_column_with_few_takes_the_shared_factor() -> None:
    vector, rng = MODALITIES[0], np.random.default_rng(0)
    x = rng.standard_normal((400, 3)) * [1, 1, 50]
    x[10:, 2] = np.nan
    x[::2, 1] = np.nan
    widths = learned_widths(vector, predicted(vector, x, 1.0, 1), x)
    assert widths is not None
    assert np.isfinite(widths).all()
    assert widths[1, 0] == pytest.approx(1, abs=0.2)
    assert widths[1, 1] == pytest.approx(1, abs=0.25)
    assert widths[1, 2] < 2


def test_a_wider_coverage_has_no_narrower_interval() -> None:
    vector, x = MODALITIES[0], np.ones((4, 3))
    crossing = np.array([[3.0] * 3, [0.1] * 3, [0.2] * 3])
    low, high = corrected(vector, predicted(vector, x, 1.0, 1), crossing[None])
    assert (np.diff(low, axis=1) <= 0).all()
    assert (np.diff(high, axis=1) >= 0).all()


def test_too_few_rows_give_no_correction() -> None:
    vector, x = MODALITIES[0], np.zeros((19, 3))
    assert learned_widths(vector, predicted(vector, x, 1.0, 1), x) is None


def labelled(rows: int, sharpened: float) -> tuple[NumpyArray, NumpyArray]:
    """Probabilities to the power of a number, and labels that follow the true ones."""
    rng = np.random.default_rng(0)
    true = rng.dirichlet([0.5, 0.5, 0.5], rows)
    right = (rng.random((rows, 1)) > true.cumsum(axis=1)).sum(axis=1)
    return tempered(true, 1 / sharpened), right


def test_a_temperature_takes_back_too_much_confidence() -> None:
    assert learned_temperature(*labelled(2000, 3.0)) == pytest.approx(3, rel=0.15)
    assert learned_temperature(*labelled(2000, 0.5)) == pytest.approx(0.5, rel=0.15)


def test_probabilities_that_are_right_have_no_temperature() -> None:
    assert learned_temperature(*labelled(2000, 1.0)) is None


def test_rows_that_are_all_right_do_not_make_the_model_surer() -> None:
    probabilities = np.tile([0.9, 0.05, 0.05], (500, 1))
    assert learned_temperature(probabilities, np.zeros(500, int)) is None


def test_tempered_probabilities_sum_up_to_one_and_keep_their_order() -> None:
    p = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    hot = tempered(p, np.array([[2.0], [0.5]]))
    np.testing.assert_allclose(hot.sum(axis=1), 1)
    assert (np.diff(hot[0]) < 0).all()
    np.testing.assert_allclose(tempered(p, 1.0), p, atol=1e-12)


CALIBRATION = Calibration(
    {
        "v": {
            frozenset({"image"}): Correction(50, np.full((3, 3), 2.0, np.float32)),
            frozenset({"image", "label"}): Correction(40, np.full((3, 3), 3.0, np.float32)),
        },
        "label": {frozenset({"v"}): Correction(30, temperature=1.5)},
    },
    {"v": Typical(-20.0, -5.5)},
)
DESCRIBED = manifest(modalities=MODALITIES)


def test_a_calibration_is_read_as_it_was_written() -> None:
    again = Calibration.from_bytes(CALIBRATION.to_bytes(), DESCRIBED)
    assert again.corrections.keys() == CALIBRATION.corrections.keys()
    assert again.typical == CALIBRATION.typical
    one = again.corrections["v"][frozenset({"image", "label"})]
    assert one.rows == 40
    np.testing.assert_array_equal(one.widths, np.full((3, 3), 3.0))
    assert again.corrections["label"][frozenset({"v"})] == Correction(30, temperature=1.5)


@pytest.mark.parametrize(
    ("given", "rows"), [(["image"], 50), (["label", "image"], 40), (["label"], 40), (["image", "other"], 50)]
)
def test_a_set_that_is_not_stored_takes_the_nearest(given: list[str], rows: int) -> None:
    correction = CALIBRATION.of("v", given)
    assert correction is not None
    assert correction.rows == rows


@pytest.mark.parametrize(("target", "given"), [("v", []), ("v", ["v", "image"]), ("image", ["v"])])
def test_neither_the_prior_nor_a_reconstruction_is_corrected(target: str, given: list[str]) -> None:
    assert CALIBRATION.of(target, given) is None


def damaged(**changes: NumpyArray) -> bytes:
    with np.load(io.BytesIO(CALIBRATION.to_bytes())) as archive:
        arrays = {
            **archive,
            **{key.replace("__", "/").replace("_given_", "|"): v for key, v in changes.items()},
        }
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04", "calibration.npz is no archive of arrays"),
        (damaged(widths__v_given_image=np.ones((3, 2))), "has the shape (3, 2), not (3, 3)"),
        (damaged(widths__v_given_image=np.full((3, 3), math.inf)), "must hold finite numbers above 0"),
        (
            damaged(rows__sound_given_image=np.array(3)),
            "must name modalities of the model, and hold one",
        ),
        (
            damaged(rows__label_given_v=np.array(np.nan)),
            "must name modalities of the model, and hold one whole number",
        ),
        (damaged(temperature__label_given_v=np.array([1.0, 2.0])), "must be one number"),
        (damaged(temperature__label_given_v=np.array("hot")), "must hold numbers"),
        (damaged(typical__v=np.array([1.0, np.nan])), "must hold two finite numbers"),
        (damaged(temperature__label_given_v=np.array(-1.0)), "must hold finite numbers above 0"),
    ],
)
def test_a_damaged_calibration_is_refused_with_its_entry(content: bytes, reason: str) -> None:
    with pytest.raises(BundleRefused) as refused:
        Calibration.from_bytes(content, DESCRIBED)
    assert reason in str(refused.value)
