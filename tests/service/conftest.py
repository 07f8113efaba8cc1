"""The real app on the tiny real model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.kinds import publish


@pytest.fixture(scope="session")
def client(bundle_folder: Path) -> Iterator[TestClient]:
    settings = Settings(store=bundle_folder.parents[1], max_body_bytes=200_000, max_rows=50, max_draws=500)
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The same app on a model of every kind of modality."""
    store = tmp_path_factory.mktemp("kinds")
    publish(store)
    settings = Settings(store=store, max_body_bytes=200_000, max_rows=50, max_draws=500)
    with TestClient(create_app(settings)) as client:
        yield client
