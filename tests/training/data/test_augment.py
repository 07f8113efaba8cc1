"""Random changes of training rows: what they keep, what they move, and that runs with them repeat."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from models_store.fusion import Gaussian
from models_store.manifest import Modality
from tests.training.examples import incomplete_rows, small_model
from training.augment_config import CHANGES, Augment
from training.checkpoint import EpochReport
from training.config import Data, Experiment, Fit, ModalityChoice, Model, Network
from training.data import Prepared
from training.data.augment import Augmentation, change
from training.data.rows import Rows
from training.errors import ExperimentError
from training.fit import Progress, fit

SHAPES: dict[str, tuple[int, ...]] = {
    "image": (12, 9),
    "coloured": (12, 9, 3),
    "video": (4, 12, 9, 3),
    "audio": (8, 16),
    "points": (6, 2),
}
ROWS = 40


def modality_of(name: str, dtype: str = "uint8") -> Modality:
    kind = "image" if name == "coloured" else name
    likelihood = "normal" if kind == "points" else "bernoulli"
    return Modality(
        name="x", kind=kind, shape=SHAPES[name], dtype=dtype, likelihood=likelihood, range=(0, 200)
    )


def rows_of(name: str, dtype: str = "uint8") -> torch.Tensor:
    x = 200 * torch.rand(ROWS, *SHAPES[name], generator=torch.Generator().manual_seed(1))
    return x.to(getattr(torch, dtype))


def changed(name: str, x: torch.Tensor, seed: int = 0, **strengths: float) -> torch.Tensor:
    modality = modality_of(name, str(x.dtype).removeprefix("torch."))
    only = dict.fromkeys(CHANGES[modality.kind], 0.0) | {"share": 1.0} | strengths
    return change(modality, x, only, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", SHAPES)
def test_strength_zero_is_the_identity(name: str, dtype: str) -> None:
    x = rows_of(name, dtype)
    torch.testing.assert_close(changed(name, x), x, rtol=0, atol=1e-4 if dtype == "float32" else 0)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("name", SHAPES)
def test_rows_keep_their_shape_dtype_and_range(name: str, dtype: str) -> None:
    x, modality = rows_of(name, dtype), modality_of(name)
    strengths = dict.fromkeys(CHANGES[modality.kind], 0.9) | {"rotate": 180.0}
    result = changed(name, x, 0, **{key: strengths[key] for key in CHANGES[modality.kind]})
    assert (result.shape, result.dtype) == (x.shape, x.dtype)
    assert float(result.min()) >= 0
    assert float(result.max()) <= 200
    assert not torch.equal(result, x)


@pytest.mark.parametrize(("name", "strength"), [(n, s) for n in SHAPES for s in CHANGES[modality_of(n).kind]])
def test_each_change_changes_and_depends_on_the_seed_alone(name: str, strength: str) -> None:
    x, amount = rows_of(name), 40.0 if strength == "rotate" else 0.4
    first = changed(name, x, seed=3, **{strength: amount})
    assert torch.equal(first, changed(name, x, seed=3, **{strength: amount}))
    assert not torch.equal(first, changed(name, x, seed=4, **{strength: amount}))
    assert not torch.equal(first, x)


def test_share_is_that_of_the_changed_rows() -> None:
    x = rows_of("image").repeat(50, 1, 1)
    same = (changed("image", x, share=0.25, noise=0.9) == x).flatten(1).all(dim=1)
    assert abs(float(same.float().mean()) - 0.75) < 0.05


def test_a_shifted_picture_is_moved_by_at_most_the_strength_and_repeats_its_border() -> None:
    x = torch.zeros(200, 12, 9)
    x[:, 6, 4] = 200
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(9.0), indexing="ij")
    result = changed("image", x, shift=0.25)
    weight = result.sum(dim=(1, 2))
    down = (result * rows).sum(dim=(1, 2)) / weight - 6
    right = (result * columns).sum(dim=(1, 2)) / weight - 4
    assert 2.5 < float(down.abs().max()) <= 3.01
    assert 1.9 < float(right.abs().max()) <= 2.26
    flat = torch.full((20, 12, 9), 77.0)
    torch.testing.assert_close(changed("image", flat, shift=1.0, rotate=90.0, scale=0.5), flat)


def test_a_rotation_keeps_distances_from_the_centre_where_sides_differ() -> None:
    x = torch.zeros(100, 12, 9)
    x[:, 5:7, 7] = 200  # 3 columns right of the centre
    rows, columns = torch.meshgrid(torch.arange(12.0) - 5.5, torch.arange(9.0) - 4, indexing="ij")
    result = changed("image", x, rotate=180.0)
    distance = (result * torch.hypot(rows, columns)).sum(dim=(1, 2)) / result.sum(dim=(1, 2))
    assert float((distance - math.hypot(0.5, 3)).abs().max()) < 0.25
    below = (result * rows).sum(dim=(1, 2)) / result.sum(dim=(1, 2))
    assert float(below.max()) > 2.5  # by 90°


def test_an_occluded_picture_differs_in_one_square_of_one_level() -> None:
    x = torch.zeros(100, 12, 9)
    for picture in changed("image", x, occlude=0.8):
        levels = picture[picture != 0].unique()
        assert len(levels) <= 1
        height, width = ((picture != 0).any(dim=axis).sum() for axis in (1, 0))
        assert max(int(height), int(width)) <= 8
        assert int((picture != 0).sum()) == int(height) * int(width)


def test_frames_and_channels_of_a_clip_change_alike() -> None:
    frame = rows_of("image")
    clip = frame[:, None, :, :, None].expand(ROWS, *SHAPES["video"])
    result = changed("video", clip, shift=0.3, rotate=40.0, occlude=0.5)
    assert torch.equal(result, result[:, :1, :, :, :1].expand_as(result))


def test_a_sound_moves_along_its_frames_beside_silence() -> None:
    x = torch.zeros(200, 8, 16)
    x[:, :, 8] = 100 + torch.arange(8.0)
    result = changed("audio", x, shift=0.25)
    loud = (result > 0).all(dim=1)
    assert (loud.sum(dim=1) == 1).all()
    place = loud.to(torch.int64).argmax(dim=1)
    assert (int(place.min()), int(place.max())) == (4, 12)
    torch.testing.assert_close(result.amax(dim=2), x.amax(dim=2))


def test_gain_leaves_silence_silent() -> None:
    x = rows_of("audio")
    x[:, :, 8:] = 0
    result = changed("audio", x, gain=0.5)
    assert not result[:, :, 8:].any()
    difference = result[:, :, :8].float() - x[:, :, :8].float()
    inside = (result[:, :, :8] > 0) & (result[:, :, :8] < 200) & (x[:, :, :8] > 0)
    for row, mask in zip(difference, inside, strict=True):
        assert len(row[mask].unique()) <= 1


def test_points_are_mapped_by_a_similarity() -> None:
    x = 80 + 40 * torch.rand(50, 6, 2, generator=torch.Generator().manual_seed(2))
    result = changed("points", x, shift=0.05, rotate=180.0, scale=0.2)
    before, after = (torch.cdist(points, points) for points in (x, result))
    ratio = after[:, 0, 1:] / before[:, 0, 1:]
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-3, atol=1e-3)
    assert float(ratio.min()) >= 0.8 - 1e-3
    assert float(ratio.max()) <= 1.2 + 1e-3


def test_resampled_points_stay_on_their_line_with_its_ends() -> None:
    x = torch.stack([torch.arange(6.0) * 30, torch.arange(6.0) * 20], dim=1).expand(50, 6, 2)
    result = changed("points", x, resample=1.0)
    assert torch.allclose(result[:, [0, -1]], x[:, [0, -1]])
    torch.testing.assert_close(result[..., 0] * 2, result[..., 1] * 3, rtol=1e-4, atol=1e-3)
    assert (result.diff(dim=1) >= -1e-4).all()
    assert not torch.allclose(result, x)


def test_changed_values_of_rows_without_the_modality_do_not_count() -> None:
    model, rows = small_model("coherent"), incomplete_rows(12, seed=1)
    x, missing = rows.data["vector"], ~rows.masks["vector"]
    assert missing.any()
    noise = torch.randn(len(model.draw_subsets()), 12, model.latent_dim)
    losses = []
    for hole in (math.nan, 7.0):
        encoded = torch.where(missing[:, None], hole, x + 0.1)
        losses.append(model(rows, noise=noise, encoded={"vector": encoded}).loss)
    assert losses[0].isfinite()
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], model(rows, noise=noise).loss)


def test_encoders_get_the_changed_row_and_the_loss_is_of_the_row_itself() -> None:
    model = small_model("paper")
    x, other = torch.randn(2, 6, 5)
    noise = torch.randn(len(model.draw_subsets()), 6, model.latent_dim)
    output = model({"vector": x}, noise=noise, encoded={"vector": other})
    mu, log_var = model.compute_mu_log_var_subset({"vector": other}, ["vector"])
    log_prob = model.log_prob("vector", x, Gaussian(mu, log_var).sample(noise[0])).mean()
    weight = model.weights[model.modalities.index("vector")]
    torch.testing.assert_close(output.metrics["log_prob_vector"], weight * log_prob)


def experiment_with(augment: Any) -> Experiment:
    return Experiment(
        name="augmented",
        data=Data(source="table"),
        modalities={
            "x": ModalityChoice(augment=augment, network=Network(hidden=(8,))),
            "label": ModalityChoice(network=Network(hidden=(4,))),
        },
        model=Model(latent_dim=2, warmup=1),
        fit=Fit(epochs=2, batch_size=16),
    )


def prepared_pictures() -> Prepared:
    label = Modality(
        name="label", kind="category", shape=(), dtype="int64", likelihood="categorical", labels=("a", "b")
    )
    labels = torch.arange(ROWS) % 2
    mask = torch.arange(ROWS) != 3
    rows = Rows({"x": rows_of("image"), "label": labels}, {"x": mask})
    return Prepared((modality_of("image"), label), rows, rows.head(10), rows.head(10))


class Stopped(Exception):
    pass


def stop(_report: EpochReport) -> None:
    raise Stopped


def test_a_run_repeats_and_resumes_with_the_same_losses(tmp_path: Path) -> None:
    prepared, losses = prepared_pictures(), {}
    with pytest.raises(Stopped):
        fit(experiment_with(True), prepared, tmp_path / "stopped", Progress(epoch=stop))
    for name, augment in (("whole", True), ("again", True), ("stopped", True), ("none", False)):
        experiment = experiment_with(augment)
        reports = fit(experiment, prepared, tmp_path / name, resume=name == "stopped").reports
        losses[name] = [report.train_loss for report in reports]
    assert losses["whole"] == losses["again"] == losses["stopped"]
    assert losses["whole"][0] != losses["none"][0]


def test_the_strengths_that_a_table_leaves_out_are_the_usual_ones() -> None:
    choice = ModalityChoice.model_validate({"augment": {"shift": 0.3, "noise": 0}})
    assert choice.augment is not None
    assert choice.augment.strengths("image") == {
        "share": 0.75,
        **CHANGES["image"],
        "shift": 0.3,
        "noise": 0.0,
    }
    assert ModalityChoice.model_validate({"augment": True}).augment == Augment()
    assert ModalityChoice.model_validate({"augment": False}).augment is None
    assert ModalityChoice().augment is None


def test_nothing_is_drawn_where_no_change_has_a_strength() -> None:
    nothing = dict.fromkeys(CHANGES["image"], 0.0)
    for augment in (nothing, {"share": 0.0}, False):
        experiment = experiment_with(augment)
        assert not Augmentation.of(experiment, prepared_pictures().modalities).modalities


@pytest.mark.parametrize(
    ("kind", "augment", "message"),
    [
        ("image", {"gain": 0.1}, r"modalities\.x\.augment\.gain: image has shift, rotate, scale, noise, "),
        ("audio", {"rotate": 10}, r"modalities\.x\.augment\.rotate: audio has shift, noise, gain; leave"),
        ("points", {"noise": 0.1}, r"modalities\.x\.augment\.noise: points has shift, rotate, scale, res"),
    ],
)
def test_a_change_that_a_kind_does_not_have_is_refused(
    kind: str, augment: dict[str, float], message: str
) -> None:
    with pytest.raises(ExperimentError, match=message):
        ModalityChoice.model_validate({"augment": augment}).of(modality_of(kind))


def test_a_kind_that_no_change_suits_is_refused() -> None:
    label = prepared_pictures().modalities[1]
    with pytest.raises(
        ExperimentError, match=r"modalities\.label\.augment: rows of kind 'category' cannot be"
    ):
        ModalityChoice.model_validate({"augment": True}).of(label)
