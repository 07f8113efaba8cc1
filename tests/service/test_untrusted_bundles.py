"""A bundle is untrusted until it has opened in a process of its own; a bad one delays and stops no other."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx2
import pytest

from models_store.errors import BundleRefused
from models_store.stores import Folder
from service.engine.batching import TIMED_ROWS
from service.engine.sessions import Session
from service.models import trials
from service.models.catalog import MANY_REFUSED, Catalog
from service.models.loading import check, open_parts
from service.models.sandbox import TrialLimits, TrialTask, Verdict
from service.models.warm import WarmProcess
from service.settings import Settings
from tests.service import spoilt
from tests.service.changing import publish
from tests.service.counted import samples
from tests.service.running import descendants, process_of, runs, until

OPTIONS = ("--poll-seconds", "0.1", "--grace-seconds", "0", "--open-seconds", "2", "--default-model", "tiny")
"""Two seconds of processor time are ten times what the tiny model needs."""


@pytest.fixture
def place(bundle_folder: Path, tmp_path: Path) -> Folder:
    """A store with ``tiny/1``."""
    shutil.copytree(bundle_folder.parents[1], tmp_path / "store")
    return Folder(tmp_path / "store")


@contextmanager
def refreshed(place: Folder, **settings: Any) -> Iterator[Catalog]:
    """The catalog of a store whose versions were tried."""
    catalog = Catalog(Settings(store=place.address, **settings))
    try:
        catalog.refresh()
        yield catalog
    finally:
        catalog.close()


def listed(address: str) -> Any:
    return httpx2.get(f"{address}/models", timeout=60).json()


def versions(address: str) -> dict[str, list[int]]:
    return {model["name"]: model["versions"] for model in listed(address)["models"]}


def reasons(address: str) -> dict[str, str]:
    return {f"{one['model']}/{one['version']}": one["reason"] for one in listed(address)["refused"]}


def metric(address: str, name: str) -> Any:
    return samples(httpx2.get(f"{address}/metrics", timeout=60).text)[name][()]


def test_a_bundle_that_never_finishes_is_refused_and_delays_no_other(
    place: Folder, bundle_folder: Path, tmp_path: Path
) -> None:
    errors = tmp_path / "log"
    with (
        errors.open("wb") as stderr,
        process_of(Path(place.address), *OPTIONS, stderr=stderr) as (address, process),
    ):
        spoilt.looping(place, bundle_folder, 1, "endless")
        spoilt.hungry(place, bundle_folder, 1, "hungry", 2**40)
        publish(place, bundle_folder, 1, "sound")
        until(lambda: "sound" in versions(address), 120)
        until(lambda: {"endless/1", "hungry/1"} == reasons(address).keys(), 120)
        assert "was not open within 2 s of processor time" in reasons(address)["endless/1"]
        assert versions(address) == {"sound": [1], "tiny": [1]}
        assert metric(address, "anyview_refused_bundles") == 2
        assert httpx2.get(f"{address}/readyz", timeout=60).json()["status"] == "ready"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "refused endless/1: was not open within 2 s" in errors.read_text()


def test_a_graph_that_computes_without_end_for_one_size_of_batch_is_refused(
    place: Folder, bundle_folder: Path
) -> None:
    """It reproduces its golden values, and is timed with larger batches."""
    spoilt.looping(place, bundle_folder, 1, "endless", rows=TIMED_ROWS[-1])
    bundle = place.open("endless", 1)
    parts = open_parts(bundle, "cpu")
    with pytest.raises(BundleRefused, match=r"label\.encoder\.onnx fails: .*terminate"):
        check(bundle, parts, "cpu", seconds=0.5)


def test_a_version_that_passed_its_trial_is_loaded_without_a_run(
    place: Folder, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside many requests, a thread waits for the interpreter's lock after each run of a graph."""
    publish(place, bundle_folder, 2)
    monkeypatch.delattr(Session, "run")
    with refreshed(place) as catalog:
        assert list(catalog.versions) == ["tiny"]
        assert all(queue.seconds(1) > 0 for queue in catalog.loaded["tiny"].queues.values())


def test_a_bundle_that_never_finishes_does_not_hold_up_the_start(place: Folder, bundle_folder: Path) -> None:
    """The version before it answers, and so do other models."""
    spoilt.looping(place, bundle_folder, 2, "tiny")
    spoilt.looping(place, bundle_folder, 1, "endless")
    with process_of(Path(place.address), *OPTIONS) as (address, _):
        until(lambda: {"endless/1", "tiny/2"} == reasons(address).keys(), 120)
        assert versions(address) == {"tiny": [1]}


class FewVerdicts(trials.Trials):
    """Tries the first version, refuses more of the others than a start waits for, and ends no other trial."""

    def __init__(self, provider: str, limits: TrialLimits) -> None:
        super().__init__(provider, limits)
        self.tried: list[str] = []

    def _run(self, tasks: list[TrialTask]) -> None:
        self.tried += [Path(task.folder).parent.name for task in tasks]
        super()._run(tasks[:1])
        for task in tasks[1 : MANY_REFUSED + 2]:
            self._record(task.number, Verdict("it is bad"))


def test_many_bad_models_do_not_hold_up_the_start(
    place: Folder, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that the service must have is tried first, though its name is the last."""
    bad = [f"bad{number:02}" for number in range(MANY_REFUSED + 3)]
    for name in bad:
        publish(place, bundle_folder, 1, name)
    monkeypatch.setattr(trials, "PASSED", {})  # those of other tests
    catalog = Catalog(Settings(store=place.address, default_model="tiny"))
    catalog.trials = few = FewVerdicts("cpu", TrialLimits(60, None))
    try:
        catalog.refresh()
        assert catalog.ready
        assert few.tried == ["tiny", *bad]
        assert [one.model for one in catalog.refused] == bad[: MANY_REFUSED + 1]
    finally:
        catalog.close()


def test_a_trial_may_take_no_more_memory_than_its_limit(place: Folder, bundle_folder: Path) -> None:
    spoilt.hungry(place, bundle_folder, 1, "hungry", 2**29)  # 2 GiB, which a machine may well have
    with refreshed(place, open_memory_bytes=2**30) as catalog:
        assert list(catalog.versions) == ["tiny"]
        assert [one.model for one in catalog.refused] == ["hungry"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_trial_that_is_running_ends_with_the_service(
    place: Folder, bundle_folder: Path, end: signal.Signals
) -> None:
    spoilt.looping(place, bundle_folder, 1, "endless")
    with process_of(Path(place.address), *OPTIONS[:4], "--open-seconds", "600") as (address, process):
        assert versions(address) == {"tiny": [1]}
        assert reasons(address) == {}
        processes = descendants(process.pid)
        assert len(processes) == 3  # the process that forks, the program of the trials, and one trial
        process.send_signal(end)
        assert process.wait(60) == (0 if end == signal.SIGTERM else -end)
    until(lambda: not any(map(runs, processes)), 60)


def test_a_process_beside_threads_is_spawned_and_forks_for_trials(
    place: Folder, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt.hungry(place, bundle_folder, 1, "hungry", 2**40)
    monkeypatch.setattr(trials, "PASSED", {})
    monkeypatch.setattr(trials, "COMMAND", ("false",))
    before = {*descendants(os.getpid())}
    monkeypatch.setattr(trials, "WARM", WarmProcess.spawned())
    (warm,) = {*descendants(os.getpid())} - before
    with refreshed(place) as catalog:
        assert list(catalog.versions) == ["tiny"]
        assert [one.model for one in catalog.refused] == ["hungry"]
    assert not runs(warm)


class Unreadable(io.BytesIO):
    def __next__(self) -> bytes:
        raise OSError("it is gone")


def test_a_version_whose_verdict_cannot_be_read_is_refused(
    place: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "PASSED", {})
    monkeypatch.setattr(trials, "COMMAND", ("false",))
    monkeypatch.setattr(trials, "WARM", Mock(start=lambda: (io.BytesIO(), Unreadable())))
    with refreshed(place) as catalog:
        assert [one.reason for one in catalog.refused] == [trials.STOPPED]


def test_where_the_process_that_forks_is_killed_a_trial_takes_a_new_one(
    place: Folder, bundle_folder: Path
) -> None:
    with process_of(Path(place.address), *OPTIONS) as (address, process):
        until(lambda: len(descendants(process.pid)) == 1)  # the trial of the first version has ended
        (warm,) = descendants(process.pid)
        os.kill(warm, signal.SIGKILL)
        publish(place, bundle_folder, 2)
        until(lambda: versions(address) == {"tiny": [2]}, 120)


def test_a_store_that_vanishes_is_reported_until_it_is_back(
    place: Folder, bundle_folder: Path, tmp_path: Path
) -> None:
    errors, root = tmp_path / "log", Path(place.address)
    with (
        errors.open("wb") as stderr,
        process_of(root, *OPTIONS, stderr=stderr) as (address, _),
    ):
        assert httpx2.get(f"{address}/readyz", timeout=60).json()["store"] == "present"
        root.rename(tmp_path / "moved")
        until(lambda: httpx2.get(f"{address}/readyz", timeout=60).json()["store"] == "away")
        assert metric(address, "anyview_store_away") == 1
        assert versions(address) == {"tiny": [1]}
        root.mkdir()  # the empty mount point of a volume
        assert httpx2.get(f"{address}/readyz", timeout=60).json() == {
            "status": "ready",
            "missing": [],
            "store": "away",
        }
        publish(place, bundle_folder, 2)
        until(lambda: versions(address) == {"tiny": [2]})
        until(lambda: metric(address, "anyview_store_away") == 0)
    log = errors.read_text()
    assert log.count(f"there is no folder {root}; loaded models still answer") == 1
    assert log.count("answers again") == 1


def test_a_version_that_is_deleted_from_the_store_is_dropped_once(
    place: Folder, bundle_folder: Path, tmp_path: Path
) -> None:
    publish(place, bundle_folder, 2)
    errors, root = tmp_path / "log", Path(place.address)
    with (
        errors.open("wb") as stderr,
        process_of(root, *OPTIONS, stderr=stderr) as (address, _),
    ):
        assert versions(address) == {"tiny": [2]}
        (root / "tiny" / "2").rename(tmp_path / "taken back")
        until(lambda: versions(address) == {"tiny": [1]})
        for name in ("first", "second", "third"):  # as many polls
            publish(place, bundle_folder, 1, name)
            until(lambda name=name: name in versions(address))  # type: ignore[misc]
    log = errors.read_text()
    assert log.count("dropped tiny/2: no longer in the store") == 1
    assert log.count("loaded tiny/1") == 1
