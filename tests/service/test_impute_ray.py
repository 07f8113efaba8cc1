"""``anyview-serve impute --engine ray`` of a data set, on a Ray of this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from service.errors import NotReady
from service.impute import engines
from service.impute.engines import Engine
from service.impute.files import FileResult, FileTask
from service.impute.table import Counts
from tests.service.data_sets import files, fill, three_files
from tests.service.kinds import publish

NOISE = ("Future", "Resource", "Deprecation")
"""Kinds of warnings that Ray gives of itself."""


@pytest.fixture(scope="module")
def local_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home folder of its own for Ray, which would otherwise take tokens and clusters of the user's."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield
        ray.shutdown()


def on_ray(test: Callable[..., None]) -> Any:
    """Marks a test that starts Ray."""
    marks = [
        pytest.mark.slow,
        pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
        pytest.mark.filterwarnings(
            *(f"ignore::{one}Warning" for one in ("Future", "Resource", "Deprecation"))
        ),
        pytest.mark.usefixtures("local_ray"),
    ]
    return reduce(lambda marked, mark: mark(marked), marks, test)


@on_ray
def test_two_workers_of_ray_write_the_same_bytes_as_one_process(tmp_path: Path) -> None:
    store, rows = tmp_path / "store", three_files(tmp_path / "rows")
    publish(store)
    fill(store, rows, tmp_path / "one", "--seed", "5")
    fill(store, rows, tmp_path / "ray", "--seed", "5", "--engine", "ray", "--workers", "2")
    assert files(tmp_path / "one") == files(tmp_path / "ray")


def by_ray(fill: Callable[[FileTask], FileResult], folder: Path) -> list[FileResult]:
    """Results of a function that fills files, for three tasks."""
    tasks = [FileTask(name, "", (str(folder / name),), rows=1) for name in ("a", "b", "c")]
    return sorted(Engine("ray", 2).results(fill, tasks, lambda _: None), key=lambda one: one.task.name)


@on_ray
def test_files_of_a_worker_of_ray_that_was_killed_are_filled_by_another(tmp_path: Path) -> None:
    def kill_first(task: FileTask) -> FileResult:
        try:
            os.close(os.open(task.targets[0], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return FileResult(task, Counts(7, 0))
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    results = by_ray(kill_first, tmp_path)
    assert [(one.task.name, one.counts.rows, one.error) for one in results] == [
        (name, 7, None) for name in ("a", "b", "c")
    ]


@on_ray
def test_a_worker_of_ray_that_is_killed_once_too_often_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "RETRIES", 0)

    def kill(_task: FileTask) -> FileResult:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    with pytest.raises(NotReady, match=r"Ray lost a worker: .*; run again to resume"):
        by_ray(kill, tmp_path)


@on_ray
def test_an_error_of_the_program_in_a_worker_of_ray_is_not_taken_for_a_lost_worker(tmp_path: Path) -> None:
    def fail(_task: FileTask) -> FileResult:
        raise ZeroDivisionError("of the program")

    errors = pytest.importorskip("ray.exceptions")
    with pytest.raises(errors.RayTaskError, match="ZeroDivisionError: of the program"):
        by_ray(fail, tmp_path)
