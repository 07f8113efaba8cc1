"""Clients that others generate: type-checked under strict settings, and used against the running service."""

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
from tests.clients.hearing import Exchange, Hearing
from tests.service.asking import npy, npz, parts
from tests.service.kinds import DIMENSION, publish
from tests.service.running import running

HERE = Path(__file__).parent
KEY = "the-key-of-all-clients"
KEYED = {"authorization": f"Bearer {KEY}"}
# Line ends, zeros, a boundary's dashes and all that is no text: what a client that sends text would change.
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
    """A model of every kind with all that a model may have, for whoever has the key."""
    folder = tmp_path_factory.mktemp("kinds")
    mixture = Mixture(np.ones(1), np.zeros((1, DIMENSION)), np.eye(DIMENSION)[None])
    drawn = Map(np.eye(2, DIMENSION), np.zeros(DIMENSION), np.zeros((4, 2)), {})
    publish(folder, latent_npz=Latent(mixture, drawn).to_bytes())
    return Settings(store=str(folder), default_model="kinds", api_keys=[KEY], allow_loading=True)


@pytest.fixture(scope="module")
def heard() -> list[Exchange]:
    return []


@pytest.fixture(scope="module")
def address(settings: Settings, heard: list[Exchange]) -> Iterator[str]:
    with running(Hearing(create_app(settings), exchanges=heard)) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def document(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``anyview-serve openapi`` writes it."""
    file = tmp_path_factory.mktemp("openapi") / "openapi.json"
    run(sys.executable, "-m", "service", "openapi", str(file), cwd=None, **settings.to_environment())
    return file


def run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run(  # noqa: S603 - our own programs
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def asked(address: str) -> Any:
    """The answer to the same bytes, sent by hand."""
    return httpx2.post(f"{address}/encode", **parts(image=PICTURE), headers=KEYED, timeout=60).json()["mu"]


def operations(document: Path) -> dict[str, Any]:
    """By method and path."""
    paths = json.loads(document.read_bytes())["paths"]
    return {
        f"{method.upper()} {path}": told
        for path, methods in paths.items()
        for method, told in methods.items()
    }


def forms(document: Path) -> tuple[set[str], set[str]]:
    """In which forms a model can be asked, and answers."""
    told = operations(document)["POST /models/kinds/generate"]
    return set(told["requestBody"]["content"]), set(told["responses"]["200"]["content"])


def test_the_service_answers_what_it_prints(address: str, document: Path) -> None:
    answered = httpx2.get(f"{address}/openapi.json", headers=KEYED).json()
    assert answered == json.loads(document.read_bytes())


def test_a_python_client_does_all_that_is_described(
    address: str, document: Path, heard: list[Exchange], tmp_path: Path
) -> None:
    options = ["--config", str(HERE / "generator.yaml"), "--output-path", str(tmp_path / "anyview_client")]
    generate = ["generate", "--path", str(document), "--meta", "none", *options]
    run(sys.executable, "-m", "openapi_python_client", *generate)
    checked = [str(tmp_path / "anyview_client"), str(HERE / "ask.py")]
    options = ["--config-file", str(HERE / "mypy.ini"), "--cache-dir", str(tmp_path)]
    run(sys.executable, "-m", "mypy", *options, *checked, cwd=tmp_path, MYPYPATH=str(tmp_path))
    (tmp_path / "image.npy").write_bytes(PICTURE)
    mu = asked(address)
    heard.clear()
    command = [sys.executable, str(HERE / "ask.py"), address, KEY, str(tmp_path / "image.npy")]
    told = json.loads(run(*command, PYTHONPATH=str(tmp_path)))
    assert set(told["used"]) == {one["operationId"] for one in operations(document).values()}
    assert told["mu"] == mu
    assert any(PICTURE in one.body for one in heard if one.sent == "multipart/form-data")
    # The generator sends archives as bytes of any kind.
    assert forms(document)[0] - {one.sent for one in heard} == {"application/x-npz"}


@needs_packages
def test_a_typescript_client_does_all_that_is_described(
    address: str, document: Path, heard: list[Exchange], tmp_path: Path
) -> None:
    for file in ("ask.ts", "generate.mjs", "package.json", "tsconfig.json"):
        shutil.copy(HERE / file, tmp_path)
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    (tmp_path / "image.npy").write_bytes(PICTURE)
    archive = npz(image=np.load(io.BytesIO(PICTURE)))["content"]
    (tmp_path / "image.npz").write_bytes(archive)
    run("node", "generate.mjs", str(document), "schema.ts", cwd=tmp_path)
    run("node", "node_modules/typescript/bin/tsc", "-p", ".", cwd=tmp_path)
    mu = asked(address)
    heard.clear()
    told = json.loads(run("node", "built/ask.js", address, KEY, "image.npy", "image.npz", cwd=tmp_path))
    assert set(told["used"]) == set(operations(document))
    assert told["mu"] == mu
    assert any(PICTURE in one.body for one in heard if one.sent == "multipart/form-data")
    assert [one.body for one in heard if one.sent == "application/x-npz"] == [archive]
    asking, answering = forms(document)
    assert asking <= {one.sent for one in heard}
    assert answering <= {one.answered for one in heard}
