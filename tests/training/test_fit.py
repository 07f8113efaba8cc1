"""The loop: what it learns, what it writes, and what it does with numbers that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training import data
from training.config import Experiment
from training.errors import TrainingError
from training.fit import BEST, METRICS, Fitted, build, fit, validation_loss


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
    torch.rand(5)  # whatever else happened before
    fit(short, prepared, tmp_path / "b")
    first, second = load_file(tmp_path / "a" / BEST), load_file(tmp_path / "b" / BEST)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_every_epoch_leaves_a_line_of_metrics(
    experiment: Experiment, prepared: data.Prepared, tmp_path: Path
) -> None:
    fit(changed(experiment, epochs=2), prepared, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
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
        fit(changed(experiment, epochs=3, learning_rate=1e18), prepared, tmp_path)


def test_weights_of_the_modalities_reach_the_objective(
    experiment: Experiment, prepared: data.Prepared
) -> None:
    assert build(experiment, prepared).weights.tolist() == [1.0, 50.0]
