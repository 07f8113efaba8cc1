"""A killed run resumes with the results of one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests import forking
from tests.conftest import DATA
from tests.training.run_fit import train
from training import data
from training.config import EXPERIMENTS, Experiment, read_experiment
from training.data import Prepared
from training.errors import TrainingError
from training.fit import BEST, LAST, METRICS, Progress, fit

EXTRAS = "average = 0.99\nclip = 5.0\n"
FORKED = multiprocessing.get_context("forkserver")
"""Processes that find torch imported."""
FORKED.set_forkserver_preload([train.__module__])


def experiment_file(folder: Path, changes: str = "", epochs: int = 6) -> Path:
    text = (EXPERIMENTS / "tiny.toml").read_text().replace("epochs = 8", f"epochs = {epochs}")
    text = text.replace('source = "mnist"', f'source = "mnist"\npath = "{DATA / "mnist"}"')
    path = folder / "tiny.toml"
    path.write_text(text.replace("[evaluation]", f"{changes}\n[evaluation]"))
    return path


def fork(experiment: Path, workdir: Path, resume: bool) -> tuple[BaseProcess, Connection]:
    """Starts a process that trains; the connection receives each finished epoch."""
    reported, reports = FORKED.Pipe(duplex=False)
    process = FORKED.Process(target=train, args=(experiment, workdir, reports.send, resume))
    process.start()
    reports.close()
    return process, reported


def start(*arguments: object, python: str | Path = sys.executable) -> subprocess.Popen[str]:
    """The same as a command, which can start processes; it waits after an epoch until its input is closed."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    command = [str(python), "-m", "tests.training.run_fit", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 - our own command
        command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=pipe, cwd=root
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out, err


def same_tensors(a: Path, b: Path) -> bool:
    first, second = load_file(a), load_file(b)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def metrics(workdir: Path) -> list[dict[str, object]]:
    """Those of every epoch, but for its speed."""
    lines = [json.loads(line) for line in (workdir / METRICS).read_text().splitlines()]
    return [{key: line[key] for key in line if key not in {"seconds", "rows_per_second"}} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("changes", ["", EXTRAS], ids=["plain", "averaged and clipped"])
def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bits(
    tmp_path: Path, changes: str
) -> None:
    experiment = experiment_file(tmp_path, changes)
    whole, heard = fork(experiment, tmp_path / "whole", resume=False)
    process, reported = fork(experiment, tmp_path / "killed", resume=False)
    for _ in range(3):
        assert reported.poll(240)  # at least one epoch is done
        time.sleep(random.uniform(0, 0.3))  # noqa: S311 - any moment will do
        process.kill()
        process.join()
        process, reported = fork(experiment, tmp_path / "killed", resume=True)
    for each in (whole, process):
        each.join(240)
        assert each.exitcode == 0
    heard.close()
    for name in (BEST, LAST):
        assert same_tensors(tmp_path / "whole" / name, tmp_path / "killed" / name)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "killed")


def changed(experiment: Experiment, **changes: object) -> Experiment:
    return experiment.model_copy(update={"fit": experiment.fit.model_copy(update=changes)})


def stopped_after(epochs: int) -> Progress:
    def stop(report: object) -> None:
        if getattr(report, "epoch", 0) == epochs:
            raise KeyboardInterrupt

    return Progress(epoch=stop)


def test_a_run_of_another_experiment_is_not_gone_on_with(
    experiment: Experiment, prepared: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(changed(experiment, epochs=2), prepared, tmp_path, stopped_after(1))
    with pytest.raises(TrainingError, match="is of another experiment, or this one has been changed since"):
        fit(changed(experiment, epochs=3), prepared, tmp_path, resume=True)


def test_a_run_from_before_there_were_members_is_continued(
    experiment: Experiment, prepared: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(changed(experiment, epochs=2), prepared, tmp_path, stopped_after(1))
    with safe_open(tmp_path / LAST, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    state = json.loads(metadata["state"])
    assert state["experiment"]["model"].pop("members") == 1
    save_file(tensors, tmp_path / LAST, {**metadata, "state": json.dumps(state)})
    assert len(fit(changed(experiment, epochs=2), prepared, tmp_path, resume=True).reports) == 2


def test_a_run_of_other_rows_is_not_continued(
    experiment: Experiment, prepared: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(experiment, prepared, tmp_path, stopped_after(1))
    name, values = next(iter(prepared.validation.data.items()))
    rows = replace(prepared.validation, data={**prepared.validation.data, name: values.flip(0)})
    for other in (replace(prepared, validation=rows), replace(prepared, train=prepared.train.head(40))):
        with pytest.raises(TrainingError, match="the data have changed since the run in"):
            fit(experiment, other, tmp_path, resume=True)


def test_where_nothing_was_trained_there_is_nothing_to_go_on_with(
    experiment: Experiment, prepared: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"holds no run to resume: there is no last\.safetensors"):
        fit(experiment, prepared, tmp_path, resume=True)


def test_a_run_that_was_finished_is_finished(
    experiment: Experiment, prepared: Prepared, tmp_path: Path
) -> None:
    short = changed(experiment, epochs=1)
    fitted = fit(short, prepared, tmp_path)
    again = fit(short, prepared, tmp_path, resume=True)
    assert again.reports == fitted.reports
    first, second = fitted.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_two_processes_reach_the_loss_of_one(tmp_path: Path) -> None:
    alone, _ = read_experiment(str(experiment_file(tmp_path, 'device = "cpu"\n', epochs=2)))
    fit(alone, data.prepare(alone), tmp_path / "one")
    both = experiment_file(tmp_path, 'device = "cpu"\nprocesses = 2\n', epochs=2)
    finish(start(both, tmp_path / "two", python=forking.python()))
    one, two = (metrics(tmp_path / name)[-1]["validation_loss"] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["the leader's child", "the leader"])
def test_when_one_of_two_processes_is_killed_the_run_ends_and_can_go_on(tmp_path: Path, victim: str) -> None:
    experiment = experiment_file(tmp_path, 'device = "cpu"\nprocesses = 2\n', epochs=3)
    process = start(experiment, tmp_path / "run")
    assert process.stdout is not None
    process.stdout.readline()  # from now on the run waits
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    target = int(children[0]) if victim == "the leader's child" else process.pid
    os.kill(target, signal.SIGKILL)
    _, err = process.communicate(timeout=240)  # closes the input, so that the other process continues
    assert process.returncode != 0
    if victim == "the leader's child":  # which the launcher sees every five seconds, and the leader at once
        assert "continue with --resume" in err or "Forcefully terminating" in err
    finish(start(experiment, tmp_path / "run", "resume", python=forking.python()))
    assert [line["epoch"] for line in metrics(tmp_path / "run")] == [1, 2, 3]
