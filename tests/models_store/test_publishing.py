"""A version is there whole, or it is not there; it never changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import FrameType
from typing import Any

import pytest

from models_store.errors import BundleRefused, VersionExists
from models_store.folder import names, newest, open_bundle, publish, versions
from tests.models_store.bundles import FILES, MODEL, entries, files_in

REPOSITORY = Path(__file__).parents[2]


def test_what_was_published_is_opened(tmp_path: Path) -> None:
    folder = publish(tmp_path, MODEL, FILES)
    opened = open_bundle(folder)
    assert folder == opened.folder == tmp_path / "digits" / "1"
    assert {name: opened.read(name) for name in opened.manifest.files} == FILES
    assert opened.manifest.model_copy(update={"files": {}}) == MODEL
    assert set(files_in(folder)) == {*FILES, "manifest.json"}


def test_nothing_but_the_version_is_left_behind(bundle: Path) -> None:
    assert entries(bundle.parent) == ["1"]


def test_a_service_of_another_user_may_read_it(bundle: Path) -> None:
    assert bundle.stat().st_mode & 0o777 == 0o755


def test_a_published_version_never_changes(bundle: Path) -> None:
    before = files_in(bundle)
    with pytest.raises(VersionExists, match="digits/1 is published already"):
        publish(
            bundle.parents[1],
            MODEL.model_copy(update={"description": "better"}),
            {**FILES, "golden.npz": b"other"},
        )
    assert files_in(bundle) == before
    assert entries(bundle.parent) == ["1"]


def test_of_concurrent_publishers_one_wins(tmp_path: Path) -> None:
    n = 8
    start = Barrier(n)

    def attempt(i: int) -> Path | None:
        start.wait()
        try:
            return publish(tmp_path, MODEL, {**FILES, "golden.npz": str(i).encode()})
        except VersionExists:
            return None

    with ThreadPoolExecutor(n) as pool:
        outcomes = list(pool.map(attempt, range(n)))
    [winner] = [i for i, folder in enumerate(outcomes) if folder is not None]
    assert open_bundle(tmp_path / "digits" / "1").read("golden.npz") == str(winner).encode()
    assert entries(tmp_path / "digits") == ["1"]


def test_a_draft_that_another_process_publishes_meanwhile_is_left_to_it(bundle: Path) -> None:
    """Its name is listed, but no longer leads to a folder."""
    (bundle.parent / ".2-abcdefgh").symlink_to("moved")
    publish(bundle.parents[1], MODEL.model_copy(update={"version": 3}), FILES)
    assert versions(bundle.parents[1], "digits") == [1, 3]


def kill_at(step: int) -> Callable[[FrameType, str, Any], None]:
    """A profiler that kills its process, as ``kill -9`` does, before a call that touches the disk."""
    touching = {"mkdir", "open", "write", "flush", "fsync", "fileno", "close", "__exit__", "chmod", "rename"}
    remaining = step

    def hook(_: FrameType, event: str, called: Any) -> None:
        nonlocal remaining
        remaining -= event == "c_call" and called.__name__ in touching
        if remaining <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def publish_and_be_killed(stores: Path) -> None:
    """Publishes into STORES/1, STORES/2, …, killed one step later each time, until one publisher survives."""
    step, status = 0, -1
    while status != 0:
        step += 1
        child = os.fork()
        if child == 0:
            sys.setprofile(kill_at(step))
            publish(stores / str(step), MODEL, FILES)
            sys.setprofile(None)
            os._exit(0)
        status = os.waitpid(child, 0)[1]


def test_a_publisher_killed_at_any_step_leaves_a_whole_version_or_none(tmp_path: Path) -> None:
    module = f"from {__name__} import *; publish_and_be_killed(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", module, tmp_path], cwd=REPOSITORY, check=True)  # noqa: S603 (ours)
    stores = sorted(tmp_path.iterdir(), key=lambda store: int(store.name))
    published = [names(store) == ["digits"] and versions(store, "digits") == [1] for store in stores]
    assert len(stores) > 4 * len(FILES)
    assert published.index(True) > 3 * len(FILES)
    assert published == sorted(published)  # killed before some step there is none, after it there is one
    for store in stores[: published.index(True)]:
        assert all(name.startswith(".") for folder in store.iterdir() for name in entries(folder))
        assert names(store) == []
        assert versions(store, "digits") == []
    for store in stores[published.index(True) :]:
        assert files_in(open_bundle(newest(store, "digits")).folder).keys() == {*FILES, "manifest.json"}


def test_what_a_killed_publisher_left_is_in_nobodys_way(tmp_path: Path) -> None:
    draft = tmp_path / "digits" / ".1-abandoned"
    draft.mkdir(parents=True)
    (draft / "manifest.json").write_bytes(b"{")
    publish(tmp_path, MODEL, FILES)
    assert open_bundle(newest(tmp_path, "digits")).read("golden.npz") == FILES["golden.npz"]


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        publish(tmp_path, MODEL, FILES)
    assert entries(tmp_path / "digits") == []


@pytest.fixture
def flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """What publish flushes into the store at ``tmp_path``: inodes, and whether the version was visible."""
    seen: list[tuple[int, bool]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_ino, versions(tmp_path, "digits") == [1]))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return seen


def test_every_file_and_folder_is_flushed_before_the_version_is_visible(
    tmp_path: Path, flushed: list[tuple[int, bool]]
) -> None:
    folder = publish(tmp_path, MODEL, FILES)
    before = {inode for inode, visible in flushed if not visible}
    assert {path.stat().st_ino for path in [folder, *folder.rglob("*")]} <= before


def test_every_folder_above_a_version_is_flushed_before_publish_returns(
    tmp_path: Path, flushed: list[tuple[int, bool]]
) -> None:
    """Else a power cut may take back the name of a new model, and with it what was published."""
    folder = publish(tmp_path, MODEL, FILES)
    assert folder.parent.stat().st_ino in {inode for inode, visible in flushed if visible}
    assert tmp_path.stat().st_ino in {inode for inode, _ in flushed}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\x", "", ".", "..", "a\0b"])
def test_a_path_that_leaves_the_folder_is_not_published(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleRefused, match="leaves the bundle's folder"):
        publish(tmp_path, MODEL, {**FILES, name: b"x"})
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize(
    "files",
    [
        {**FILES, "manifest.json": b"{}"},
        {**FILES, "./manifest.json": b"{}"},
        {name: content for name, content in FILES.items() if name != "golden.npz"},
    ],
)
def test_what_no_reader_would_open_is_not_published(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A number that is taken by a broken bundle can never be given to a whole one."""
    with pytest.raises(BundleRefused, match=r"manifest\.json|golden\.npz"):
        publish(tmp_path, MODEL, files)
    assert names(tmp_path) == []
