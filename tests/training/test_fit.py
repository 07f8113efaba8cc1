"""The training loop: what it learns, what it writes, and how it treats NaN and infinity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models_store.folder import open_bundle
from training import data
from training.commands import weights_of
from training.config import Experiment, Fit, Network
from training.device import device_name, device_of
from training.epoch import learning_rate
from training.errors import TrainingError
from training.fit import BEST, LAST, METRICS, Fitted, Progress, build, fit, validation_loss
from training.networks import ModelOutput


def changed(experiment: Experiment, **changes: object) -> Experiment:
    return experiment.model_copy(update={"fit": experiment.fit.model_copy(update=changes)})


def test_the_loss_falls(fitted: Fitted) -> None:
    assert fitted.reports[-1].train_loss < 0.7 * fitted.reports[0].train_loss


def test_the_weights_kept_are_those_of_the_epoch_with_the_lowest_validation_loss(
    fitted: Fitted, experiment: Experiment, prepared: data.Prepared
) -> None:
    lowest = min(report.validation_loss or torch.inf for report in fitted.reports)
    assert validation_loss(fitted.model, experiment, prepared.validation) == pytest.approx(lowest, rel=1e-5)


def test_the_same_seed_gives_the_same_weights(
    experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    short = changed(experiment, epochs=1)
    fit(short, prepared, tmp_path / "a")
    torch.rand(5)  # the state of the global generator has no effect
    fit(short, prepared, tmp_path / "b")
    first, second = load_file(tmp_path / "a" / BEST), load_file(tmp_path / "b" / BEST)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_every_epoch_leaves_a_line_of_metrics(
    experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    fit(changed(experiment, epochs=2), prepared, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {line["device"] for line in lines} == {device_name(device_of("auto"))}
    assert lines[0]["validation_loss"] > lines[1]["validation_loss"]


def test_validation_does_not_depend_on_what_was_drawn_before(
    fitted: Fitted, experiment: Experiment, prepared: data.Prepared
) -> None:
    first = validation_loss(fitted.model, experiment, prepared.validation)
    torch.rand(3)
    assert validation_loss(fitted.model, experiment, prepared.validation) == first


def test_a_loss_that_is_no_number_ends_training_with_advice(
    experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"not a number in epoch 1, batch \d+.*smaller fit.learning_rate"):
        # On a CPU every loss is checked; on a GPU one of 50 is, and the message may name a weight.
        fit(changed(experiment, device="cpu", epochs=3, learning_rate=1e18), prepared, tmp_path)


class Flaky(nn.Module):
    """A decoder of labels that returns NaN at the listed calls."""

    calls: ClassVar[int] = 0
    nan_at: ClassVar[set[int]] = set()

    def __init__(self, latent_dim: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.layer = nn.Linear(latent_dim, shape[0])

    def forward(self, z: Tensor) -> ModelOutput:
        Flaky.calls += 1
        answer = self.layer(z)
        return ModelOutput(reconstruction=answer * torch.nan if Flaky.calls in Flaky.nan_at else answer)


class Labels(nn.Module):
    def __init__(self, latent_dim: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.layer = nn.Linear(shape[0], 2 * latent_dim)

    def forward(self, x: Tensor) -> ModelOutput:
        mu, log_var = self.layer(x).chunk(2, dim=1)
        return ModelOutput(embedding=mu, log_covariance=log_var)


def test_a_number_that_is_none_goes_back_to_the_last_good_epoch_with_a_smaller_step_and_says_so(
    experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    network = Network(type="custom", encoder=f"{__name__}:Labels", decoder=f"{__name__}:Flaky")
    label = experiment.modalities["label"].model_copy(update={"network": network})
    flaky = experiment.model_copy(update={"modalities": {**experiment.modalities, "label": label}})
    Flaky.calls, Flaky.nan_at = 0, {49}  # in epoch 2: 18 batches and one validation, each calls it twice
    reported: list[str] = []
    fitted = fit(
        changed(flaky, device="cpu", epochs=2), prepared, tmp_path, Progress(trouble=reported.append)
    )
    assert reported == [
        "the loss is not a number in epoch 2, batch 6; going back to the end of the epoch before, "
        "with 0.5 of the step"
    ]
    assert [report.epoch for report in fitted.reports] == [1, 2]
    assert fitted.reports[1].train_loss < fitted.reports[0].train_loss


def test_every_weight_that_is_kept_is_a_number(fitted: Fitted) -> None:
    assert all(bool(weight.isfinite().all()) for weight in fitted.model.parameters())


def test_without_patience_left_training_stops(
    experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    stuck = changed(experiment, epochs=9, patience=2, learning_rate=1e-30)
    reports = fit(stuck, prepared, tmp_path).reports
    assert [report.best for report in reports] == [True, False, False]


def test_the_average_of_the_weights_is_what_is_kept(
    experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    fit(changed(experiment, epochs=1, average=0.9), prepared, tmp_path)
    kept, last = load_file(tmp_path / BEST), load_file(tmp_path / LAST)
    assert all(torch.equal(kept[key], last[f"averaged.{key}"]) for key in kept)
    assert not all(torch.equal(kept[key], last[f"model.{key}"]) for key in kept)


def test_best_and_last_are_kept_apart_each_with_its_own_epoch(
    experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    """The best weights are never paired with the optimizer of another epoch: only the last ones have one."""
    fit(changed(experiment, epochs=2), prepared, tmp_path)
    best, last = load_file(tmp_path / BEST), load_file(tmp_path / LAST)
    assert not any(key.startswith("optimizer.") for key in best)
    assert {key.split(".")[-1] for key in last if key.startswith("optimizer.")} == {
        "step",
        "exp_avg",
        "exp_avg_sq",
    }


def test_clipping_bounds_the_first_step_of_the_moments(
    experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    fit(changed(experiment, epochs=1, clip=1e-3, batch_size=900), prepared, tmp_path)
    last = load_file(tmp_path / LAST)
    moments = [value for key, value in last.items() if key.endswith("exp_avg")]
    norm = torch.sqrt(torch.stack([(moment**2).sum() for moment in moments]).sum())
    assert float(norm) == pytest.approx(0.1 * 1e-3, rel=1e-3)  # one step of 1 - 0.9


def test_the_rate_rises_falls_to_nothing_or_stays() -> None:
    rates = [learning_rate(Fit(learning_rate=2.0), step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(2 / 25)
    assert max(rates) == rates[5] == 2.0
    assert rates[-1] < 0.01
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert learning_rate(Fit(learning_rate=2.0, schedule="constant"), 50, 100) == 2.0


def test_half_precision_learns_too(experiment: Experiment, prepared: data.Prepared, tmp_path: Path) -> None:
    reports = fit(changed(experiment, epochs=2, precision="bf16"), prepared, tmp_path).reports
    assert reports[1].train_loss < reports[0].train_loss


def test_training_goes_on_from_the_weights_of_a_bundle(
    bundle_folder: Path, fitted: Fitted, experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    short = changed(experiment, epochs=1, learning_rate=1e-6)
    weights = weights_of(open_bundle(bundle_folder))
    onward = fit(short, prepared, tmp_path, weights=weights).reports[0]
    assert onward.validation_loss == pytest.approx(
        min(report.validation_loss or torch.inf for report in fitted.reports), rel=0.02
    )


def test_weights_of_another_model_are_refused(
    experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="the weights to start from do not fit this experiment"):
        fit(experiment, prepared, tmp_path, weights={"a": torch.zeros(1)})


def test_weights_of_the_modalities_reach_the_objective(
    experiment: Experiment, prepared: data.Prepared
) -> None:
    assert build(experiment, prepared).weights.tolist() == [1.0, 50.0]
