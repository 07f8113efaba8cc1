"""What is let go is given back."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from benchmarks import bundle
from service.app import create_app
from service.models import catalog as catalog_module
from service.models.catalog import Catalog
from service.settings import Settings


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_unloading_a_model_gives_its_memory_back(tmp_path: Path) -> None:
    bundle.publish(tmp_path, [f"view{n}" for n in range(8)])  # 23 MB of graphs
    command = [sys.executable, "-m", "tests.service.run_unloading", str(tmp_path), bundle.NAME]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own
    before, between, after = map(int, done.stdout.split())
    assert between - before > 20_000_000
    assert after - before < (between - before) / 3


def test_memory_of_a_model_in_use_is_given_back_at_the_next_poll(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as by a request that had begun."""
    catalog = Catalog(Settings(store=bundle_folder.parents[1]))
    catalog.refresh()
    model = catalog.get("tiny").model
    gone = weakref.ref(model)
    given: list[bool] = []

    def give_back() -> None:
        gc.collect()
        given.append(gone() is None)

    monkeypatch.setattr(catalog_module, "give_memory_back", give_back)
    catalog.unload("tiny")
    assert given == [False]
    del model
    for _ in range(2):  # nothing is left to give back after the first
        catalog.refresh()
    assert given == [False, True]
    catalog.close()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/encode", b'{"inputs": {"label": [3]}}'),
        ("/generate", b'{"inputs": {"label": [3]}}'),
        ("/score", b'{"inputs": {"label": [3]}}'),
        ("/encode", b'{"inputs": {"label": ['),
        ("/encode", b'{"inputs": {"unknown": [3]}}'),
        ("/nowhere", b""),
    ],
)
def test_a_question_leaves_no_cycles_behind(bundle_folder: Path, path: str, content: bytes) -> None:
    """So to look for cycles seldom costs no memory."""
    app = create_app(Settings(store=bundle_folder.parents[1]))

    async def ask(state: Mapping[str, Any]) -> None:
        unread = [{"type": "http.request", "body": content}]

        async def receive() -> Message:
            return unread.pop() if unread else await asyncio.Future()

        async def send(_message: Message) -> None: ...

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        await app({**scope, "state": dict(state)}, receive, send)

    async def count() -> int:
        async with app.router.lifespan_context(app) as state:
            await ask(state or {})  # what is made once
            gc.collect()
            gc.disable()
            try:
                for _ in range(20):
                    await ask(state or {})
                return gc.collect()
            finally:
                gc.enable()

    assert asyncio.run(count()) < 20  # less than one for each
