"""Clients generated from the OpenAPI document pass strict type checks and work with the running service."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from models_store.latent import Latent, Map, Mixture
from service.app import create_app
from service.settings import Settings
from tests.clients.recording import RecordedRequest, Recorder
from tests.service.asking import npy, npz, parts
from tests.service.kinds import DIMENSION, publish
from tests.service.running import running

HERE = Path(__file__).parent
KEY = "the-key-of-all-clients"
KEYED = {"authorization": f"Bearer {KEY}"}
# Line ends, zeros, dashes of a boundary, and bytes that are not UTF-8, which a client of text would change.
PICTURE = npy(
    np.array([[0, 255, 13, 10], [26, 128, 45, 45], [13, 10, 0, 250], *[[1, 2, 3, 254]] * 3], np.uint8)[None]
)

pytestmark = pytest.mark.slow
needs_packages = pytest.mark.skipif(
    shutil.which("node") is None or not (HERE / "node_modules").is_dir(),
    reason="npm and its packages are needed: run `npm ci` in tests/clients",
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A service with a model of every kind of modality and all optional files; it requires a key."""
    folder = tmp_path_factory.mktemp("kinds")
    mixture = Mixture(np.ones(1), np.zeros((1, DIMENSION)), np.eye(DIMENSION)[None])
    drawn = Map(np.eye(2, DIMENSION), np.zeros(DIMENSION), np.zeros((4, 2)), {})
    publish(folder, latent_npz=Latent(mixture, drawn).to_bytes())
    return Settings(store=str(folder), default_model="kinds", api_keys=[KEY], allow_loading=True)


@pytest.fixture(scope="module")
def recorded() -> list[RecordedRequest]:
    return []


@pytest.fixture(scope="module")
def address(settings: Settings, recorded: list[RecordedRequest]) -> Iterator[str]:
    with running(Recorder(create_app(settings), recorded)) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def document(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI document, as ``anyview-serve openapi`` writes it."""
    file = tmp_path_factory.mktemp("openapi") / "openapi.json"
    run(sys.executable, "-m", "service", "openapi", str(file), cwd=None, **settings.to_environment())
    return file


def run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    """Run a program, which must succeed, and return its output."""
    done = subprocess.run(  # noqa: S603 - our own programs
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def posterior_mean(address: str) -> Any:
    """The posterior means of the picture, requested without a generated client."""
    return httpx2.post(f"{address}/encode", **parts(image=PICTURE), headers=KEYED, timeout=60).json()["mu"]


def operations(document: Path) -> dict[str, Any]:
    """Operations by method and path."""
    paths = json.loads(document.read_bytes())["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def media_types(document: Path) -> tuple[set[str], set[str]]:
    """Media types of the requests and of the responses of one operation."""
    generate = operations(document)["POST /models/kinds/generate"]
    return set(generate["requestBody"]["content"]), set(generate["responses"]["200"]["content"])


def test_the_service_serves_the_document_that_it_prints(address: str, document: Path) -> None:
    answered = httpx2.get(f"{address}/openapi.json", headers=KEYED).json()
    assert answered == json.loads(document.read_bytes())


def test_a_python_client_calls_every_operation_of_the_document(
    address: str, document: Path, recorded: list[RecordedRequest], tmp_path: Path
) -> None:
    options = ["--config", str(HERE / "generator.yaml"), "--output-path", str(tmp_path / "anyview_client")]
    generate = ["generate", "--path", str(document), "--meta", "none", *options]
    run(sys.executable, "-m", "openapi_python_client", *generate)
    checked = [str(tmp_path / "anyview_client"), str(HERE / "ask.py")]
    options = ["--config-file", str(HERE / "mypy.ini"), "--cache-dir", str(tmp_path)]
    run(sys.executable, "-m", "mypy", *options, *checked, cwd=tmp_path, MYPYPATH=str(tmp_path))
    (tmp_path / "image.npy").write_bytes(PICTURE)
    mu = posterior_mean(address)
    recorded.clear()
    command = [sys.executable, str(HERE / "ask.py"), address, KEY, str(tmp_path / "image.npy")]
    printed = json.loads(run(*command, PYTHONPATH=str(tmp_path)))
    assert set(printed["used"]) == {one["operationId"] for one in operations(document).values()}
    assert printed["mu"] == mu
    assert any(PICTURE in one.body for one in recorded if one.request_type == "multipart/form-data")
    # The generated client sends archives as application/octet-stream.
    assert media_types(document)[0] - {one.request_type for one in recorded} == {"application/x-npz"}


@needs_packages
def test_a_typescript_client_calls_every_operation_of_the_document(
    address: str, document: Path, recorded: list[RecordedRequest], tmp_path: Path
) -> None:
    for file in ("ask.ts", "generate.mjs", "package.json", "tsconfig.json"):
        shutil.copy(HERE / file, tmp_path)
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    (tmp_path / "image.npy").write_bytes(PICTURE)
    archive = npz(image=np.load(io.BytesIO(PICTURE)))["content"]
    (tmp_path / "image.npz").write_bytes(archive)
    run("node", "generate.mjs", str(document), "schema.ts", cwd=tmp_path)
    run("node", "node_modules/typescript/bin/tsc", "-p", ".", cwd=tmp_path)
    mu = posterior_mean(address)
    recorded.clear()
    printed = json.loads(run("node", "built/ask.js", address, KEY, "image.npy", "image.npz", cwd=tmp_path))
    assert set(printed["used"]) == set(operations(document))
    assert printed["mu"] == mu
    assert any(PICTURE in one.body for one in recorded if one.request_type == "multipart/form-data")
    assert [one.body for one in recorded if one.request_type == "application/x-npz"] == [archive]
    requests, responses = media_types(document)
    assert requests <= {one.request_type for one in recorded}
    assert responses <= {one.response_type for one in recorded}
