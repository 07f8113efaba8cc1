"""Failures of training other than NaN: a loss or a posterior that runs away, a best epoch in the warm-up."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

import training.objective
from models_store.kinds.fields import Column
from models_store.manifest import Modality
from tests.training.test_weak_views import weak_views
from training import data
from training.checkpoint import EpochReport
from training.config import read_experiment
from training.divergence import NATS_OF_A_NUMBER, Watch, advice, capacity
from training.errors import TrainingError
from training.fit import BEST, Progress, fit
from training.tables.guess import experiment_for

WATCH = Watch(warmup=3, most=50.0, remedy="try less")


def reports(
    losses: list[float], kl: list[float] | None = None, validation: list[float] | None = None
) -> list[EpochReport]:
    """Reports of epochs from 1 with these losses; the best is that of the lowest validation loss so far."""
    written: list[EpochReport] = []
    for index, loss in enumerate(losses):
        held_out = None if validation is None else validation[index]
        best = validation is None or held_out == min(validation[: index + 1])
        divergence = 5.0 if kl is None else kl[index]
        written.append(EpochReport(index + 1, loss, held_out, best, -loss, divergence, {}, 1e-3, 1.0, 1.0))
    return written


def diverged(made: list[EpochReport]) -> list[int]:
    """Numbers of the epochs that are judged as diverged."""
    return [r.epoch for i, r in enumerate(made) if WATCH.diverged(r, made[:i])]


def test_a_training_loss_far_above_its_lowest_after_the_warm_up_has_diverged() -> None:
    assert diverged(reports([900, 100, 300, 400, 410, 700, 830])) == [7]
    assert diverged(reports([-10, -30, -20, -25, -10, 20, 26])) == [7]  # on the scale of the information
    assert not diverged(reports([100, 90, 10_000]))  # the weight of the divergence still rises


def test_a_posterior_that_leaves_the_prior_farther_than_data_can_carry_has_diverged() -> None:
    assert diverged(reports([100] * 6, kl=[90, 90, 60, 55, 52, 49])) == []  # it comes down after the warm-up
    assert diverged(reports([100] * 6, kl=[5, 5, 5, 40, 51, 80])) == [5, 6]


def test_the_capacity_is_twice_the_information_of_a_row_times_the_weights() -> None:
    numbers = Modality(
        name="x",
        kind="vector",
        shape=(2,),
        dtype="float32",
        likelihood="normal",
        columns=(Column(name="a"), Column(name="b")),
    )
    label = Modality(
        name="y", kind="category", shape=(), dtype="int64", likelihood="categorical", labels=("a", "b", "c")
    )
    assert math.log(2) * 24 == NATS_OF_A_NUMBER
    most = capacity([numbers, label], {"x": 0.5, "y": 3.0}, beta=0.5)
    assert most == pytest.approx(4 * (2 * NATS_OF_A_NUMBER + 3 * math.log(3)))


def test_a_validation_loss_far_above_its_best_ends_training_and_names_the_kept_epoch() -> None:
    falling = [200.0, 150, 100, 90, 80, 70, 60]
    rising = reports(falling, validation=[200, 150, 140, 160, 200, 260, 300])
    assert WATCH.overfitted(rising[:6]) is None
    assert "validation loss, 300, is far above its best, 140; the weights of epoch 3" in str(
        WATCH.overfitted(rising)
    )


def test_a_best_epoch_within_the_warm_up_is_reported_with_a_remedy() -> None:
    made = reports([9, 8, 7, 6, 5], validation=[9, 7, 8, 8, 8])
    (sentence,) = WATCH.complaints(made)
    assert sentence.startswith("the best epoch, 2, lies within the warm-up of 3 epochs")
    assert sentence.endswith("; try less")
    assert WATCH.complaints(reports([9, 8, 7, 6, 5], validation=[9, 8, 7, 6.5, 6.8])) == []
    assert WATCH.complaints(made[:3]) == []  # nothing but warm-up: there is nothing to compare with
    assert WATCH.complaints(reports([9, 8, 7, 6, 5])) == []  # no validation rows


def test_a_remedy_is_no_setting_that_the_experiment_has(tmp_path: Path) -> None:
    weak_views(tmp_path / "weak.csv")
    text = experiment_for([tmp_path / "weak.csv"], tmp_path / "e.toml")
    assert 'objective = "conditional"' in text
    comment = "-1 occurs far outside the other numbers of 'a' (9); if it means missing, set [data] missing"

    def advice_of(text: str) -> str:
        (tmp_path / "e.toml").write_text(text)
        return advice(*read_experiment(str(tmp_path / "e.toml")))

    rest = "with many small modalities, fewer and larger ones"
    first = advice_of(text)
    assert first == (
        "add rows, or views that depend on the others; or try a smaller fit.learning_rate or fit.clip = 1; "
        + rest
    )
    other = text.replace('"conditional"', '"coherent"').replace("[fit]", "[fit]\nclip = 1.0")
    assert advice_of(other).endswith(
        f'try model.objective = "conditional" or a smaller fit.learning_rate; {rest}'
    )
    suspected = f'{text}\n# to check:\n#   weak.csv: {comment} = ["-1"]\n'
    assert advice_of(suspected).startswith("-1 occurs far outside the other numbers of 'a' (9): if it means")
    assert advice_of(suspected.replace("[data]\n", '[data]\nmissing = ["-1"]\n', 1)) == first


def test_views_that_are_drawn_to_a_product_of_themselves_end_training_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The full weight of the matching, as it was before it depended on the number of views, runs away."""
    monkeypatch.setattr(training.objective, "STRONGEST_MATCHING", math.inf)
    weak_views(tmp_path / "weak.csv")
    text = experiment_for([tmp_path / "weak.csv"], tmp_path / "experiment.toml")
    changes = {
        "objective": '"matched"',
        "patience": 300,
        "epochs": 300,
        "learning_rate": 1e-2,
        "average": 0.0,
    }
    for key, value in changes.items():
        text = re.sub(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
    (tmp_path / "experiment.toml").write_text(text)
    experiment, _ = read_experiment(str(tmp_path / "experiment.toml"))
    steps_back: list[str] = []
    progress = Progress(trouble=steps_back.append)
    with pytest.raises(TrainingError, match=r'halved step too.*model\.objective = "conditional"'):
        fit(experiment, data.prepare(experiment), tmp_path / "run", progress)
    assert all(re.search("the loss rose|nats from the prior", sentence) for sentence in steps_back)
    assert (tmp_path / "run" / BEST).is_file()
