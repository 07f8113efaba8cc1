"""Any number of processes on any number of machines trains the same model, and one of them writes it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Never

import pytest
import torch

from models_store import stores
from tests import forking
from tests.training.machines import FIRST, Machines, two_machines
from tests.training.test_resume import experiment_file, finish, metrics, stopped_after
from training import commands, data
from training.config import Experiment, read_experiment
from training.device import naming_lost_processes
from training.errors import TrainingError
from training.fit import LAST, fit
from training.launch import Launch, first_host, is_leader, launched

ROOT = Path(__file__).parents[2]
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"}
STEP = {
    "SLURM_STEP_ID": "2",
    "SLURM_JOB_ID": "1234",
    "SLURM_NTASKS": "5",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "2",
    "SLURM_NNODES": "3",
    "SLURM_JOB_NODELIST": "gpu[07-09]",
}


def test_the_place_given_by_torchrun() -> None:
    environment = {**TORCHRUN, "MASTER_ADDR": "first", "MASTER_PORT": "4711"}
    assert launched(environment) == Launch(3, 4, 1, 2, 1, "first", 4711)
    assert launched({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "first"}) == Launch(
        1, 2, 0, 1, 1, "first", 29500
    )
    with pytest.raises(TrainingError, match="WORLD_SIZE is 4, but MASTER_ADDR"):
        launched(TORCHRUN)
    with pytest.raises(TrainingError, match="RANK must be a whole number, it is 'x'"):
        launched({"RANK": "x", "WORLD_SIZE": "2", "MASTER_ADDR": "first"})


def test_the_place_given_by_a_step_of_slurm() -> None:
    assert launched({**STEP, "SLURM_TASKS_PER_NODE": "2(x2),1"}) == Launch(4, 5, 0, 1, 2, "gpu07", 17342)
    assert launched(STEP) == Launch(4, 5, 0, 1, 2, "gpu07", 17342)  # by the number of tasks alone
    one_machine = {**STEP, "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_LOCALID": "4"}
    assert launched(one_machine) == Launch(4, 5, 4, 5, 0, "127.0.0.1", 17342)
    two_of_five = {**one_machine, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}
    assert launched(two_of_five) == Launch(1, 2, 4, 2, 0, "127.0.0.1", 17342)
    without_hosts = {name: value for name, value in STEP.items() if name != "SLURM_JOB_NODELIST"}
    with pytest.raises(TrainingError, match="SLURM_JOB_NODELIST does not name them"):
        launched(without_hosts)


def test_hosts_of_slurm() -> None:
    assert [first_host(hosts) for hosts in ("gpu[07-09,12],big3", "a-[1-2]-x,b", "one two", "one")] == [
        "gpu07",
        "a-1-x",
        "one",
        "one",
    ]


ALONE: Mapping[str, Mapping[str, str]] = {
    "no launcher": {},
    "a batch job outside of its steps": {k: v for k, v in STEP.items() if k != "SLURM_STEP_ID"},
    "one task": {**STEP, "SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_PROCID": "0"},
    "torchrun with one process": {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
}


@pytest.mark.parametrize("environment", ALONE.values(), ids=ALONE)
def test_a_process_without_others_trains_alone(environment: Mapping[str, str]) -> None:
    assert launched(environment) is None
    assert is_leader(environment)


LED = {
    "second machine": {"NODE_RANK": "1"},
    "second process of the machine": {"LOCAL_RANK": "1", "NODE_RANK": "0"},
    "rank 2, first of its machine": {**TORCHRUN, "RANK": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "first"},
    "first task of the last machine": STEP,
}


@pytest.mark.parametrize("environment", LED.values(), ids=LED)
def test_one_process_of_all_machines_leads(environment: Mapping[str, str]) -> None:
    assert not is_leader(environment)


def odd_experiment(folder: Path, epochs: int) -> Path:
    """``tiny`` with missing entries, batches that no even number divides, and a last batch of one row."""
    path = experiment_file(folder, 'device = "cpu"\n', epochs)
    text = path.read_text()
    for usual, odd in (
        ("validation = 100", "validation = 99\nmissing = 0.2\nlimit = 463"),
        ("batch_size = 50", "batch_size = 33"),
        ("rows = 100", "rows = 10"),  # what is measured is not what these tests are about
        ("importance_samples = 200", "importance_samples = 10"),
    ):
        assert usual in text
        text = text.replace(usual, odd)
    path.write_text(text)
    return path


@pytest.fixture
def machines() -> Iterator[Machines]:
    with ExitStack() as stack:
        try:
            both = stack.enter_context(two_machines())
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no namespaces of the network: {error}")
        yield both


TWO_PROCESSES = ["--standalone", "--nproc-per-node=2"]
"""Options of torchrun for one machine."""


def torchrun(python: str | Path, where: Sequence[str], *arguments: object) -> list[str]:
    return [str(python), "-m", "torch.distributed.run", *where, "-m", *map(str, arguments)]


def begin(command: list[str], folder: Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    changes = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHON_EXEC": str(forking.python())}
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 - our own command
        command, env={**os.environ, **changes}, text=True, stdin=stdin, stdout=pipe, stderr=pipe, cwd=folder
    )


def begin_on(
    machines: Machines,
    folder: Path,
    *arguments: object,
    python: str | Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[str]]:
    """Starts a process on each machine, in a folder of its own; they train together."""
    for number, machine in enumerate(machines):
        current = folder / f"machine{number}"
        current.mkdir(exist_ok=True)
        where = ["--nnodes=2", f"--node-rank={number}", f"--master-addr={FIRST}", "--nproc-per-node=1"]
        command = torchrun(python or forking.python(), where, *arguments)
        yield begin([*machine, *command], current, stdin)


def finish_all(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Reads from all at once: a process whose pipe is full would keep the others waiting."""
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(finish, processes):
            pass


def losses(workdir: Path) -> list[object]:
    return [line[name] for line in metrics(workdir) for name in ("train_loss", "validation_loss", "kl")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_losses_are_equal_for_any_number_of_processes_and_machines(
    tmp_path: Path, machines: Machines
) -> None:
    """Of two machines, each with a folder, the first alone writes, starts a tracker, and publishes, once."""
    file = odd_experiment(tmp_path, epochs=2)
    experiment, _ = read_experiment(str(file))
    fit(experiment, data.prepare(experiment), tmp_path / "one")
    expected = pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    two = begin(torchrun(forking.python(), TWO_PROCESSES, "tests.training.run_fit", file, "two"), tmp_path)
    arguments = ("training", "fit", file, "--workdir", "run", "--force", "--track", "tensorboard")
    finish_all([two, *begin_on(machines, tmp_path, *arguments)])
    run = tmp_path / "machine0" / "run"
    assert losses(tmp_path / "two") == expected
    assert losses(run) == expected
    assert [path.name for path in (tmp_path / "machine0" / "store" / "tiny").iterdir()] == ["1"]
    assert len([*(run / "tensorboard").iterdir()]) == 1
    assert not list((tmp_path / "machine1").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_machines_resume_from_a_state_that_one_of_them_has(tmp_path: Path, machines: Machines) -> None:
    file = odd_experiment(tmp_path, epochs=2)
    experiment, _ = read_experiment(str(file))
    prepared = data.prepare(experiment)
    fit(experiment, prepared, tmp_path / "whole")
    run = tmp_path / "machine0" / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(experiment, prepared, run, stopped_after(1))
    finish_all([*begin_on(machines, tmp_path, "tests.training.run_fit", file, "run", "resume")])
    assert losses(run) == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    assert not list((tmp_path / "machine1").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_lost_machine_ends_the_run_which_resumes_on_one(tmp_path: Path, machines: Machines) -> None:
    """The system closes the connections of a killed process, at which the other one fails.

    An exchange that waited instead would end after 1800 s, torch's timeout, on fast and on slow machines.
    """
    file = odd_experiment(tmp_path, epochs=3)
    arguments = ("tests.training.run_fit", file, "run")
    # Python itself, not a client of a fork: killed with its children, it leaves no process.
    first, second = begin_on(machines, tmp_path, *arguments, python=sys.executable, stdin=subprocess.PIPE)
    for process in (first, second):
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"  # from now on the machines wait
    children = Path(f"/proc/{second.pid}/task/{second.pid}/children").read_text().split()
    for process_id in (second.pid, *map(int, children)):  # torchrun starts each process in its own session
        os.kill(process_id, signal.SIGKILL)
    second.communicate()
    _, err = first.communicate(timeout=240)  # closes the input, so that the first machine continues
    assert first.returncode != 0
    assert re.search(r"another process of this run is gone .*continue with --resume run", err)
    assert "Timed out" not in err
    last = tmp_path / "machine0" / "run"
    assert (last / LAST).is_file()
    experiment, _ = read_experiment(str(file))
    prepared = data.prepare(experiment)
    fit(experiment, prepared, last, resume=True)
    fit(experiment, prepared, tmp_path / "whole")
    assert json.loads((last / "metrics.jsonl").read_text().splitlines()[-1])["epoch"] == 3
    assert losses(last) == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)


def test_a_process_lost_before_the_first_epoch_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the leader may have refused its folder, or the data have been read for hours."""
    file = odd_experiment(tmp_path, epochs=1)
    text = file.read_text().replace('device = "cpu"', 'device = "cpu"\nprocesses = 2')

    def closed(*_: object) -> Never:
        raise torch.distributed.DistNetworkError("Failed to recv, got 0 bytes\nframe #0: a stack")

    monkeypatch.setattr(commands, "fabric_for", closed)
    experiment = Experiment.model_validate(tomllib.loads(text))
    store, run = stores.store_at(str(tmp_path / "store")), tmp_path / "run"
    with pytest.raises(TrainingError) as caught:
        commands.fit(experiment, text, store, run, resume=False, start=None, trackers=())
    assert str(caught.value) == (
        "another process of this run is gone (Failed to recv, got 0 bytes); look at what it printed. "
        f"Finished epochs are kept: continue with --resume {run}, or start anew if there is none"
    )


def test_errors_of_one_process_keep_their_name(tmp_path: Path) -> None:
    for world_size, error in ((1, RuntimeError("a shape")), (2, torch.OutOfMemoryError("14 GB"))):
        with pytest.raises(type(error), match=str(error)), naming_lost_processes(world_size, tmp_path):
            raise error


def test_an_error_without_a_message_is_named_by_its_type(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gone \(RuntimeError\)"), naming_lost_processes(2, tmp_path):
        raise RuntimeError
