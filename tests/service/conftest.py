"""The real app on the tiny real model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.http as triton
from fastapi.testclient import TestClient

from models_store.stores import Folder
from service.app import create_app
from service.settings import Settings
from tests.service.changing import publish as publish_version
from tests.service.kinds import publish
from tests.service.running import running


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


@pytest.fixture(scope="session")
def protocol_store(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """``tiny`` in two versions, of which only the newer is loaded; ``broken``; every kind of modality."""
    root = tmp_path_factory.mktemp("store")
    shutil.copytree(bundle_folder.parents[1], root, dirs_exist_ok=True)
    folder = Folder(root)
    publish_version(folder, bundle_folder, 2)
    publish_version(folder, bundle_folder, 1, "broken", golden_npz=b"nothing")
    publish(root)
    return folder


@pytest.fixture(scope="session")
def oip_address(protocol_store: Folder) -> Iterator[str]:
    settings = Settings(
        store=protocol_store.address, max_body_bytes=200_000, max_rows=50, allow_loading=True, poll_seconds=0
    )
    with running(create_app(settings)) as (host, port):
        yield f"{host}:{port}"


@pytest.fixture(scope="session")
def oip(oip_address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(oip_address) as client:
        yield client
