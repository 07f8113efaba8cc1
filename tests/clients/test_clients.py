"""Clients that others generate: type-checked under strict settings, and used against the running service."""

from __future__ import annotations

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

from service.app import create_app
from service.settings import Settings
from tests.service.asking import npy, parts
from tests.service.kinds import publish
from tests.service.running import running

HERE = Path(__file__).parent
# Line ends, zeros, a boundary's dashes and all that is no text: what a client that sends text would change.
PICTURE = npy(
    np.array([[0, 255, 13, 10], [26, 128, 45, 45], [13, 10, 0, 250], *[[1, 2, 3, 254]] * 3], np.uint8)[None]
)

pytestmark = pytest.mark.slow
needs_packages = pytest.mark.skipif(
    shutil.which("node") is None or not (HERE / "node_modules").is_dir(),
    reason="the TypeScript client needs npm: run `npm ci` in tests/clients",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    publish(folder)
    return folder


@pytest.fixture(scope="module")
def address(store: Path) -> Iterator[str]:
    with running(create_app(Settings(store=str(store)))) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def document(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``anyview-serve openapi`` writes it."""
    file = tmp_path_factory.mktemp("openapi") / "openapi.json"
    run(sys.executable, "-m", "service", "openapi", str(file), "--store", str(store))
    return file


def run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run(  # noqa: S603 - our own programs
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def posterior(address: str) -> Any:
    """The answer to the same bytes, sent by hand."""
    return httpx2.post(f"{address}/encode", **parts(image=PICTURE), timeout=20).json()["mu"]


def test_the_service_answers_what_it_prints(address: str, document: Path) -> None:
    assert httpx2.get(f"{address}/openapi.json").json() == json.loads(document.read_bytes())


def test_a_python_client(address: str, document: Path, tmp_path: Path) -> None:
    options = ["--config", str(HERE / "generator.yaml"), "--output-path", str(tmp_path / "anyview_client")]
    generate = ["generate", "--path", str(document), "--meta", "none", *options]
    run(sys.executable, "-m", "openapi_python_client", *generate)
    checked = [str(tmp_path / "anyview_client"), str(HERE / "ask.py")]
    mypy = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(HERE / "mypy.ini"),
        "--cache-dir",
        str(tmp_path),
    ]
    run(*mypy, *checked, cwd=tmp_path, MYPYPATH=str(tmp_path))
    (tmp_path / "image.npy").write_bytes(PICTURE)
    asked = [sys.executable, str(HERE / "ask.py"), address, str(tmp_path / "image.npy")]
    assert json.loads(run(*asked, PYTHONPATH=str(tmp_path))) == posterior(address)


@needs_packages
def test_a_typescript_client(address: str, document: Path, tmp_path: Path) -> None:
    for file in ("ask.ts", "generate.mjs", "package.json", "tsconfig.json"):
        shutil.copy(HERE / file, tmp_path)
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    (tmp_path / "image.npy").write_bytes(PICTURE)
    run("node", "generate.mjs", str(document), "schema.ts", cwd=tmp_path)
    run("node", "node_modules/typescript/bin/tsc", "-p", ".", cwd=tmp_path)
    assert json.loads(run("node", "built/ask.js", address, "image.npy", cwd=tmp_path)) == posterior(address)
