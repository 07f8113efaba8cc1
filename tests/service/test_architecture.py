"""The path of a request through the code gets no longer, and no file; docs/architecture.md lists the path."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import httpx2
import pytest

from service.app import served
from service.http.application import Application
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PACKAGES = ("service", "models_store")
MAX_FILES, MAX_MOVES = 20, 45
MAX_LINES = 400


class Trace:
    """Records the calls from one file of ``service`` and ``models_store`` to another, in all threads.

    Functions of other packages in between do not count, and neither do returns and the resumption of a
    coroutine.
    """

    def __init__(self) -> None:
        self.moves: list[tuple[str, str]] = []
        self._recording = False
        self._entered: dict[int, FrameType] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Profiles this thread, and the threads that start within the block."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    @contextmanager
    def recording(self) -> Iterator[None]:
        self._recording = True
        try:
            yield
        finally:
            self._recording = False

    def files(self) -> list[str]:
        """Returns the files in the order in which they are first called."""
        return list(dict.fromkeys(callee for _, callee in self.moves))

    def _profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        file = _file(frame) if self._recording and event == "call" else None
        if file is None or id(frame) in self._entered:
            return
        self._entered[id(frame)] = frame  # kept, so that no other frame has the same id
        caller = frame.f_back
        while caller is not None and _file(caller) is None:
            caller = caller.f_back
        caller_file = _file(caller) if caller is not None else None
        if caller_file != file:
            self.moves.append((caller_file or "", file))


def _file(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(ROOT):
        return None
    relative = path.relative_to(ROOT)
    return relative.as_posix() if relative.parts[0] in PACKAGES else None


async def _trace(bundle_folder: Path, trace: Trace) -> None:
    """Sends the same request three times and records the third."""
    app = served(Settings(store=bundle_folder.parents[1], poll_seconds=0))
    async with running(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for number in range(3):
                with trace.recording() if number == 2 else nullcontext():
                    response = await client.post("/encode", json={"inputs": {"label": ["3"]}})
                assert response.status_code == 200, response.text


@asynccontextmanager
async def running(app: Application) -> AsyncIterator[None]:
    """Starts an ASGI application as a server does, and stops it."""
    events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    answers: asyncio.Queue[Any] = asyncio.Queue()
    lifespan = asyncio.create_task(app({"type": "lifespan"}, events.get, answers.put))
    await events.put({"type": "lifespan.startup"})
    assert (await answers.get())["type"] == "lifespan.startup.complete"
    yield
    await events.put({"type": "lifespan.shutdown"})
    await lifespan


@pytest.fixture(scope="module")
def trace(bundle_folder: Path) -> Trace:
    trace = Trace()
    with pytest.MonkeyPatch.context() as patch, trace.installed():
        patch.setattr("service.http.deadlines.TICK_SECONDS", 3600)  # a slow run would count its ticks
        asyncio.run(_trace(bundle_folder, trace))
    return trace


def test_a_warm_encode_calls_few_files(trace: Trace) -> None:
    assert len(trace.files()) <= MAX_FILES, trace.files()


def test_a_warm_encode_moves_seldom_between_files(trace: Trace) -> None:
    assert len(trace.moves) <= MAX_MOVES, trace.moves


def test_no_file_is_longer_than_400_lines() -> None:
    folders = ("service", "models_store", "training", "clients", "deploy", "benchmarks", "tests", "docs")
    files = [
        file
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        if "node_modules" not in file.parts
    ]
    assert len(files) > 500
    assert [str(file) for file in files if len(file.read_text().splitlines()) > MAX_LINES] == []
