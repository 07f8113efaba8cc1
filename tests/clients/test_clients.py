"""Clients generated from the OpenAPI document pass strict type checks and work with the running service."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from service.routes.inference import GENERATED
from tests.clients.programs import HERE, KEY, KEYED, PICTURE, needs_packages, run
from tests.clients.recording import RecordedRequest
from tests.service.asking import npz, parts

pytestmark = pytest.mark.slow


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


def sent_types(document: Path) -> set[str]:
    """Media types of the requests of all ways of sending."""
    sent = (one["requestBody"]["content"] for one in operations(document).values() if "requestBody" in one)
    return {media for content in sent for media in content}


def test_the_service_serves_the_document_that_it_prints(address: str, document: Path) -> None:
    answered = httpx2.get(f"{address}/openapi.json", headers=KEYED).json()
    assert answered == json.loads(document.read_bytes())


def test_a_python_client_calls_every_operation_of_the_document(
    address: str, document: Path, recorded: list[RecordedRequest], tmp_path: Path
) -> None:
    options = ["--config", str(HERE / "generator.yaml"), "--output-path", str(tmp_path / "generated_client")]
    generate = ["generate", "--path", str(document), "--meta", "none", *options]
    run(sys.executable, "-m", "openapi_python_client", *generate)
    checked = [str(tmp_path / "generated_client"), str(HERE / "ask.py")]
    options = ["--config-file", str(HERE / "mypy.ini"), "--cache-dir", str(tmp_path)]
    run(sys.executable, "-m", "mypy", *options, *checked, cwd=tmp_path, MYPYPATH=str(tmp_path))
    (tmp_path / "image.npy").write_bytes(PICTURE)
    mu = posterior_mean(address)
    recorded.clear()
    command = [sys.executable, str(HERE / "ask.py"), address, KEY, str(tmp_path / "image.npy")]
    printed = json.loads(run(*command, PYTHONPATH=str(tmp_path)))
    ids = {one["operationId"] for one in operations(document).values()}
    # The generator leaves out operations whose body is a table.
    assert set(printed["used"]) == {name for name in ids if not name.endswith("_csv")}
    assert printed["mu"] == mu
    assert any(PICTURE in one.body for one in recorded if one.request_type == "multipart/form-data")
    assert sent_types(document) <= {one.request_type for one in recorded}


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
    assert archive in [one.body for one in recorded if one.request_type == "application/x-npz"]
    assert sent_types(document) <= {one.request_type for one in recorded}
    assert {"application/json", *GENERATED} <= {one.response_type for one in recorded}
