"""The table of corruptions: what each does, and that its accuracies are those of the model's answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models_store.arrays import Array
from models_store.folder import open_bundle
from models_store.fusion import Gaussian, product
from models_store.manifest import Modality
from service.engine.fusing import Expert
from service.engine.observations import Column
from service.engine.robust import tempered
from training import data
from training.config import Evaluation, Experiment
from training.data.rows import Rows
from training.evaluation import EvaluatedModel, measure_corruptions
from training.evaluation.answers import label_probabilities
from training.evaluation.calibrating import calibrate, own_log_probs
from training.evaluation.card import corruption_table
from training.evaluation.corruptions import (
    CLEAN,
    CORRUPTIONS,
    corrupted,
    robust_posterior,
)
from training.export import OnnxGraphs

SHAPES = {"image": (14, 14), "audio": (8, 16), "points": (8, 2)}
EVERY = [(kind, name) for kind, by_name in CORRUPTIONS.items() for name in by_name]


def modality_of(kind: str, shape: tuple[int, ...] | None = None, dtype: str = "uint8") -> Modality:
    return Modality(
        name="x",
        kind=kind,
        shape=shape or SHAPES[kind],
        dtype=dtype,
        likelihood="normal" if kind == "points" else "bernoulli",
        range=(0, 100),
    )


def applied(kind: str, name: str, x: Array, seed: int = 0) -> Array:
    return corrupted(modality_of(kind, x.shape[1:], str(x.dtype)), x, CORRUPTIONS[kind][name], seed)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_rows_keep_shape_dtype_and_range_and_repeat_with_the_seed(kind: str, name: str, dtype: str) -> None:
    x = (100 * np.random.default_rng(1).random((20, *SHAPES[kind]))).astype(dtype)
    changed = applied(kind, name, x)
    assert (changed.shape, changed.dtype) == (x.shape, x.dtype)
    assert 0 <= changed.min() <= changed.max() <= 100
    assert (changed != x).reshape(20, -1).any(axis=1).all()
    np.testing.assert_array_equal(changed, applied(kind, name, x))


@pytest.mark.parametrize("name", CORRUPTIONS["image"])
def test_each_channel_of_a_coloured_picture_is_corrupted_as_a_grey_one(name: str) -> None:
    grey = 100 * np.random.default_rng(1).random((5, 14, 14))
    coloured = np.repeat(grey[..., None], 3, axis=3)
    if not name.startswith("noise"):
        np.testing.assert_allclose(applied("image", name, coloured)[..., 1], applied("image", name, grey))


def test_a_picture_is_moved_by_two_pixels_of_fourteen() -> None:
    x = np.zeros((40, 14, 14), np.uint8)
    x[:, 6, 7] = 100
    moved = applied("image", "shift by 1/7 of a side", x)
    moves = {(int(down) - 6, int(right) - 7) for row in moved for down, right in np.argwhere(row)}
    assert moves == {(2, 0), (-2, 0), (0, 2), (0, -2)}


@pytest.mark.parametrize(("name", "degrees", "scale"), [("rotate by 45°", 45, 1), ("scale by 0.7", 0, 0.7)])
def test_pictures_and_points_are_turned_and_scaled_about_the_centre(
    name: str, degrees: float, scale: float
) -> None:
    pictures = np.zeros((40, 29, 29), np.float32)
    pictures[:, 14, 23:26] = 100  # 10 right of the centre
    rows, columns = np.mgrid[:29, :29] - 14
    turned = applied("image", name, pictures)
    weight = turned.sum(axis=(1, 2))
    place = np.stack([(turned * axis).sum(axis=(1, 2)) / weight for axis in (columns, rows)], axis=1)
    of_points = applied("points", name, np.full((40, 8, 2), (60, 50), np.float32))[:, 0] - 50
    for x, y in (place.T, of_points.T):
        np.testing.assert_allclose(np.hypot(x, y), 10 * scale, rtol=0.03)
        np.testing.assert_allclose(np.abs(np.rad2deg(np.arctan2(y, x))), degrees, atol=1)


def test_inversion_and_contrast_follow_their_formulas() -> None:
    x = 100 * np.random.default_rng(1).random((5, 14, 14))
    np.testing.assert_allclose(applied("image", "inversion", x), 100 - x)
    mean = x.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(applied("image", "contrast of 0.3", x), mean + 0.3 * (x - mean))


def test_a_moved_sound_is_followed_or_preceded_by_silence() -> None:
    x = np.full((40, 8, 16), 50, np.uint8)
    moved = applied("audio", "shift by 1/8 of the frames", x)
    silent = {str(np.flatnonzero(~row.any(axis=0))) for row in moved}
    assert silent == {"[0 1]", "[14 15]"}


@pytest.fixture(scope="module")
def evaluated(bundle_folder: Path, prepared: data.Prepared, experiment: Experiment) -> EvaluatedModel:
    bundle = open_bundle(bundle_folder)
    graphs = OnnxGraphs(bundle.manifest, {name: bundle.read(name) for name in bundle.manifest.files})
    model = EvaluatedModel(
        bundle.manifest, graphs, prepared.train, prepared.test, Evaluation(rows=100), experiment.seed
    )
    return replace(model, calibration=calibrate(model, prepared.test))


def test_the_table_has_every_corruption_and_clean_rows_as_the_card_has_them(
    evaluated: EvaluatedModel,
) -> None:
    measured = measure_corruptions(evaluated)
    assert list(measured["image"]) == [CLEAN, *CORRUPTIONS["image"]]
    clean, rows = measured["image"][CLEAN], evaluated.test.head(100)
    right = (
        label_probabilities(evaluated, "label", ["image"], rows).argmax(axis=1) == rows.data["label"].numpy()
    )
    assert clean["alone"] == pytest.approx(right.mean(), abs=1e-4)
    assert clean["classifier"] > 0.7
    assert "beside" not in clean  # there is no second view
    assert measured["image"]["inversion"]["alone"] < clean["alone"]
    table = corruption_table(measured)
    assert f"| `image` | none | {clean['alone']:.3f} | – | – | – |" in table


def test_a_robust_posterior_is_the_one_of_the_service(evaluated: EvaluatedModel) -> None:
    rows, names = evaluated.test.head(50), ["image", "label"]
    inverted = CORRUPTIONS["image"]["inversion"]
    image = evaluated.manifest.modality("image")
    changed = corrupted(image, rows.data["image"].numpy(), inverted, 0)
    wrong = Rows({**rows.data, "image": torch.from_numpy(changed)})
    assert evaluated.calibration is not None
    experts = evaluated.experts(wrong, names)
    weakened = tempered(
        {name: Expert(experts.mu[at], experts.log_var[at], None) for at, name in enumerate(names)},
        {"image": own_log_probs(evaluated, "image", wrong)},
        evaluated.calibration.typical,
        {name: Column(wrong.data[name].numpy()) for name in names},
    )
    parts = [np.stack([getattr(weakened[name], part) for name in names]) for part in ("mu", "log_var")]
    robust = robust_posterior(evaluated, wrong, names)
    np.testing.assert_allclose(robust.mu, product(Gaussian(*parts)).mu, rtol=1e-5, atol=1e-6)
    assert not np.allclose(robust.mu, evaluated.posterior(wrong, names).mu)
