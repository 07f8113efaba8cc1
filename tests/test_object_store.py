"""Train into an S3 bucket and serve from it, also while the S3 server is away for a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import httpx2
import pytest
from moto.server import ThreadedMotoServer

from benchmarks.servers import free_port
from models_store import stores
from service.app import create_app
from service.models.catalog import Catalog
from service.settings import Settings
from tests.conftest import DATA
from tests.docs.blocks import elsewhere, in_bash
from tests.service.changing import publish
from tests.service.running import running, until
from training import cli

EXPERIMENT = f"""
name = "tiny"
[data]
source = "mnist"
path = "{DATA / "mnist"}"
validation = 100
[modalities.image]
network = {{ hidden = [64] }}
[modalities.label]
weight = 50.0
network = {{ hidden = [32] }}
[model]
latent_dim = 8
warmup = 1
[fit]
epochs = 4
batch_size = 50
learning_rate = 3e-3
[evaluation]
rows = 100
importance_samples = 20
generated_per_label = 5
"""
BODY = {"inputs": {"label": [1, 2, 3]}}


def server_at(port: int) -> ThreadedMotoServer:
    """Start an S3 server; this process keeps its objects, so that a later server still has them."""
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    return server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    server = server_at(0)
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    # Drop the objects and the client connections of the previous test.
    httpx2.post(f"http://{host}:{port}/moto-api/reset").raise_for_status()
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir("bucket")
    yield server
    server.stop()


def test_what_is_trained_into_a_bucket_is_served_from_it(server: ThreadedMotoServer, tmp_path: Path) -> None:
    address = "s3://bucket/models"
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    cli.fit_command(str(tmp_path / "tiny.toml"), store=address, workdir=tmp_path / "run")
    place = stores.store_at(address)
    assert place.published() == {"tiny": [1]}
    trained = place.open("tiny", 1)
    catalogs: list[Catalog] = []

    def catalog_of(settings: Settings) -> Catalog:
        catalogs.append(Catalog(settings))
        return catalogs[0]

    app = create_app(Settings(store=address, poll_seconds=0.1), catalog_of)
    with running(app) as (host, port), httpx2.Client(base_url=f"http://{host}:{port}", timeout=60) as client:

        def answering() -> int:
            answer = client.post("/encode", json=BODY)
            assert answer.status_code == 200
            version: int = answer.json()["version"]
            return version

        assert answering() == 1
        assert "tiny" in client.get("/models/tiny/card").text
        publish(place, trained.folder, 2)
        until(lambda: answering() == 2)
        _, at = server.get_host_and_port()
        server.stop()
        until(lambda: catalogs[0].store_away, 60)
        assert "does not answer" in str(catalogs[0].store_away)
        assert answering() == 2
        assert client.get("/readyz").status_code == 200
        again = server_at(at)
        publish(place, trained.folder, 3)
        until(lambda: answering() == 3, 60)
        assert catalogs[0].store_away is None
        again.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_the_commands_of_the_document_train_into_a_bucket_and_serve_from_it(tmp_path: Path) -> None:
    (tmp_path / "experiment.toml").write_text(EXPERIMENT)
    port = free_port()
    settings = f"export ANYVIEW_PORT={port} ANYVIEW_GRACE_SECONDS=0\n"
    ready = f"curl --retry 240 --retry-delay 1 --retry-connrefused localhost:{port}/readyz\n"
    code = elsewhere("docs/settings.md", "test_object_store.py").rstrip()
    output = in_bash(f"{settings}{code} &\n{ready}curl localhost:{port}/models/tiny/card", tmp_path)
    assert "# tiny 1" in output
    assert stores.store_at("s3://bucket/models").published() == {"tiny": [1]}
