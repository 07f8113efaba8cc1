"""Logs of a run in TensorBoard, Weights & Biases and MLflow, read back from their files; all offline."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.running import until
from training import data
from training.checkpoint import EpochReport
from training.config import Experiment
from training.errors import TrainingError
from training.fit import Progress, fit
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


def run(name: str, experiment: Experiment, folder: Path, epochs: Iterable[int], done: int = 0) -> None:
    """Logs some epochs; resumes after ``done`` epochs."""
    with tracked([name], experiment, folder, resume=bool(done)) as log:
        log.resumed([report(epoch + 1) for epoch in range(done)])
        for epoch in epochs:
            log.epoch(report(epoch))
        log.measured(METRICS)


def killed(name: str, experiment: Experiment, folder: Path) -> None:
    """Starts a run that is killed before it logs its second epoch."""

    def epochs() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(name, experiment, folder, epochs())


@needs("tensorboard")
def test_tensorboard_shows_every_number_of_every_epoch_and_the_settings(
    experiment: Experiment, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("tensorboard", experiment, tmp_path, [1, 2])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = {name: {e.step: e.value for e in events.Scalars(name)} for name in events.Tags()["scalars"]}
    for epoch in (1, 2):
        assert {name: scalars[name][epoch] for name in scalars_of(report(epoch))} == pytest.approx(
            scalars_of(report(epoch))
        )
    assert {name: scalars[name][2] for name in SHOWN} == SHOWN
    (text,) = events.Tensors("experiment/text_summary")
    assert b"| fit.batch_size | 50 |" in text.tensor_proto.string_val[0]


@needs("tensorboard")
def test_tensorboard_shows_each_epoch_of_a_resumed_run_once(experiment: Experiment, tmp_path: Path) -> None:
    """An epoch is shown once even if it was logged, and the identity file was not updated."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed("tensorboard", experiment, tmp_path)
    (tmp_path / IDENTITY).write_text(json.dumps({"tensorboard": {"run": "tensorboard", "epoch": 0}}))
    run("tensorboard", experiment, tmp_path, [3], done=2)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in events.Scalars("loss/train")]
    assert losses == [(epoch, pytest.approx(100 / epoch)) for epoch in (1, 2, 3)]
    assert len(events.Tensors("experiment/text_summary")) == 1


@needs("tensorboard")
def test_a_tracker_that_is_added_to_a_resumed_run_logs_every_epoch(
    experiment: Experiment, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    short = experiment.model_copy(update={"fit": experiment.fit.model_copy(update={"epochs": 2})})
    prepared = data.prepare(short)
    fit(short, prepared, tmp_path)
    with tracked(["tensorboard"], short, tmp_path, resume=True) as log:
        reports = fit(short, prepared, tmp_path, Progress(resumed=log.resumed), resume=True).reports
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("elbo")] == pytest.approx([one.elbo for one in reports])


@needs("mlflow")
def test_mlflow_keeps_settings_numbers_and_the_end_and_a_resumed_run_is_the_same(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "ml").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # skinny, as it is here, has no database
    killed("mlflow", experiment, tmp_path)
    number = json.loads((tmp_path / IDENTITY).read_text())["mlflow"]["run"]
    assert MlflowClient().get_run(number).info.status == "FAILED"
    run("mlflow", experiment, tmp_path, [3], done=2)
    run("mlflow", experiment, tmp_path, [], done=3)  # finished already: nothing is logged twice
    kept = MlflowClient().get_run(number)
    assert kept.info.status == "FINISHED"
    assert kept.data.metrics == pytest.approx({**scalars_of(report(3)), **SHOWN})
    for name, steps in {"elbo": [1, 2, 3], "test/rows": [3]}.items():
        assert [metric.step for metric in MlflowClient().get_metric_history(number, name)] == steps
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


def whole(path: Path) -> list[Any]:
    """All records, once the last one is there: another process writes them."""
    until(lambda: any(record.HasField("exit") for record in records(path)))
    return list(records(path))


def offline(folder: Path) -> list[tuple[str, dict[str, Any], list[tuple[int, dict[str, Any]]]]]:
    """By part of a run, the oldest first: its name, settings, and rows with their steps."""
    parts = []
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime):
        written = whole(path)
        updates = [update for record in written for update in (record.run.config, record.config)]
        settings = {key_of(item): json.loads(item.value_json) for update in updates for item in update.update}
        history = [record.history for record in written if record.HasField("history")]
        rows = [
            (row.step.num, {key_of(i): json.loads(i.value_json) for i in row.item if key_of(i)[0] != "_"})
            for row in history
        ]
        (number,) = {record.run.run_id for record in written if record.HasField("run")}
        parts.append((number, settings, rows))
    return parts


@needs("wandb")
def test_wandb_offline_writes_settings_numbers_and_what_was_measured(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(key, value)
    run("wandb", experiment, tmp_path, [1, 2])
    ((number, settings, numbers),) = offline(tmp_path)
    assert json.loads((tmp_path / IDENTITY).read_text()) == {"wandb": {"run": number, "epoch": 2}}
    assert settings["fit.batch_size"] == 50
    assert numbers == [
        (1, {"epoch": 1, **scalars_of(report(1))}),
        (2, {"epoch": 2, **scalars_of(report(2))}),
        (3, {"epoch": 2, **SHOWN}),
    ]


@needs("wandb")
def test_wandb_offline_keeps_the_whole_of_a_resumed_run_in_its_last_folder(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the killed run may never have reached the disk."""
    for key, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(key, value)
    killed("wandb", experiment, tmp_path)
    run("wandb", experiment, tmp_path, [3], done=2)
    first, second = offline(tmp_path)
    assert first[0] == second[0]
    assert [(step, row["epoch"]) for step, row in second[2]] == [(1, 1), (2, 2), (3, 3), (4, 3)]


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
