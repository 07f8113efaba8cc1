"""What a run tells TensorBoard, Weights & Biases and MLflow, read back from what they wrote; all offline."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from training.checkpoint import EpochReport
from training.config import Experiment
from training.errors import TrainingError
from training.tracking import IDENTITY, scalars_of, settings_of, tracked

METRICS = {"accuracy": {"label|image,sound": 0.5}, "rows": 3, "made": "by hand"}
SHOWN = {"test/accuracy/label given image and sound": 0.5, "test/rows": 3.0}


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(module) is None, reason=f"{module} is not installed: pip install {module}"
    )


def report(epoch: int) -> EpochReport:
    log_prob = {"image": -90.5, "label": -0.25}
    return EpochReport(epoch, 100.0 / epoch, 50.0, True, -91.0, 7.5, log_prob, 1e-3, 4000.0, 1.0)


def run(name: str, experiment: Experiment, folder: Path, epochs: Iterator[int], resume: bool = False) -> None:
    with tracked([name], experiment, folder, resume) as told:
        for epoch in epochs:
            told.epoch(report(epoch))
        told.measured(METRICS)


def stopped_after(epoch: int) -> Iterator[int]:
    yield epoch
    raise KeyboardInterrupt


@needs("tensorboard")
def test_tensorboard_shows_every_number_of_every_epoch_and_the_settings(
    experiment: Experiment, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("tensorboard", experiment, tmp_path, iter([1, 2]))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    told = {name: {e.step: e.value for e in events.Scalars(name)} for name in events.Tags()["scalars"]}
    for epoch in (1, 2):
        assert {name: told[name][epoch] for name in scalars_of(report(epoch))} == pytest.approx(
            scalars_of(report(epoch))
        )
    assert {name: told[name][2] for name in SHOWN} == SHOWN
    (text,) = events.Tensors("experiment/text_summary")
    assert b"| fit.batch_size | 50 |" in text.tensor_proto.string_val[0]


@needs("mlflow")
def test_mlflow_keeps_settings_numbers_and_the_end_and_a_resumed_run_is_the_same(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "ml").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # skinny, as it is here, has no database
    with pytest.raises(KeyboardInterrupt):
        run("mlflow", experiment, tmp_path, stopped_after(1))
    number = json.loads((tmp_path / IDENTITY).read_text())["mlflow"]
    assert MlflowClient().get_run(number).info.status == "FAILED"
    run("mlflow", experiment, tmp_path, iter([2]), resume=True)
    kept = MlflowClient().get_run(number)
    assert kept.info.status == "FINISHED"
    assert kept.data.metrics == pytest.approx({**scalars_of(report(2)), **SHOWN})
    assert [metric.step for metric in MlflowClient().get_metric_history(number, "elbo")] == [1, 2]
    assert kept.data.params == {key: str(value) for key, value in settings_of(experiment).items()}


def records(path: Path) -> Iterator[Any]:
    """The records of a W&B file: 7 bytes of header, then LevelDB's log format in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made at run time

    content, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # no room for a header: padding
            at += 32768 - at % 32768
            continue
        size, kind = struct.unpack_from("<HB", content, at + 4)
        parts += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def key_of(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


@needs("wandb")
def test_wandb_offline_writes_settings_numbers_and_what_was_measured(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(key, value)
    run("wandb", experiment, tmp_path, iter([1, 2]))
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    written = list(records(path))
    updates = [update for record in written for update in (record.run.config, record.config)]
    settings = {key_of(item): json.loads(item.value_json) for update in updates for item in update.update}
    assert settings["fit.batch_size"] == 50
    history = [
        {key_of(item): json.loads(item.value_json) for item in record.history.item}
        for record in written
        if record.HasField("history")
    ]
    numbers = [{name: row[name] for name in row if not name.startswith("_")} for row in history]
    assert numbers == [
        {"epoch": 1, **scalars_of(report(1))},
        {"epoch": 2, **scalars_of(report(2))},
        {"epoch": 2, **SHOWN},
    ]


def test_an_unknown_tracker_is_refused_with_the_known_ones(experiment: Experiment, tmp_path: Path) -> None:
    with (
        pytest.raises(TrainingError, match="--track aim: known are tensorboard, wandb, mlflow"),
        tracked(["aim"], experiment, tmp_path, False),
    ):
        pass


def test_a_tracker_that_is_not_installed_says_what_to_install(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with (
        pytest.raises(TrainingError, match=r"--track wandb needs: pip install 'anyview\[training,wandb\]'"),
        tracked(["wandb"], experiment, tmp_path, False),
    ):
        pass
