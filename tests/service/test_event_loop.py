"""Other requests are answered while what a bundle makes large is written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from models_store.manifest import Manifest
from service.app import create_app
from service.settings import Settings
from tests.service.running import readiness, running


class Gate:
    """A function that waits until the test has seen it run."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()

    def passed(self, value: Any) -> Any:
        self.entered.set()
        assert self.release.wait(60)
        return value


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.release.set()


@pytest.mark.parametrize("path", ["/openapi.json", "/models/tiny"])
def test_other_requests_are_answered_while_a_description_is_written(
    bundle_folder: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    document = FastAPI.openapi
    monkeypatch.setattr(FastAPI, "openapi", lambda app: gate.passed(document(app)))
    monkeypatch.setattr(Manifest, "model_dump_json", lambda *_, **__: gate.passed("{}"))
    app = create_app(Settings(store=bundle_folder.parents[1]))
    with running(app) as (host, port), ThreadPoolExecutor(1) as threads:
        address = f"http://{host}:{port}"
        described = threads.submit(httpx2.get, f"{address}{path}", timeout=60)
        assert gate.entered.wait(60)
        assert readiness(address, "/livez") == 200
        assert not described.done()
        gate.release.set()
        assert described.result(60).status_code == 200
