"""Clients of further generators: each is type-checked strictly, and uploads, sends rows and reads an error.

The programs in ``generated`` print the posterior means of two labels.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx2
import numpy as np
import pytest

from tests.clients.programs import HERE, KEY, KEYED, ODD_LABELS, PICTURE, needs_packages, run

PROGRAMS = HERE / "generated"
CLIENT_ONLY = "apis,models,supportingFiles,apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"
QUICK = ("-Xshare:auto", "-XX:TieredStopAtLevel=1")
"""Options of Java for programs that run for seconds."""
HTTPMIME = Path("/usr/share/java/httpmime.jar")
"""The one library of a generated client in Java that the generator itself does not hold."""
TYPESCRIPT = ("hey", "orval", "fetch")

pytestmark = pytest.mark.slow


def generator_jar() -> str:
    """The JAR of openapi-generator, which the package openapi-generator-cli brings along."""
    package = importlib.util.find_spec("openapi_generator_cli")
    if package is None or package.origin is None or shutil.which("java") is None:
        pytest.skip("openapi-generator needs Java and the package openapi-generator-cli")
    return str(Path(package.origin).with_name("openapi-generator.jar"))


def generate(document: Path, language: str, folder: Path, *options: str) -> None:
    command = ["java", *QUICK, "-jar", generator_jar(), "generate", "-i", str(document), "-g", language]
    run(*command, "-o", str(folder), "--global-property", CLIENT_ONLY, *options)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("files") / "image.npy"
    file.write_bytes(PICTURE)
    return file


@pytest.fixture(scope="module")
def expected(address: str) -> np.ndarray:
    """Posterior means of two odd labels, requested without a generated client."""
    body = {"inputs": {"place": ODD_LABELS[:2]}}
    answer = httpx2.post(f"{address}/models/kinds/encode", json=body, headers=KEYED, timeout=60)
    return np.array(answer.json()["mu"])


@pytest.fixture(scope="module")
def typescript(document: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Programs by name, with their generated clients; type-checked together, which is faster."""
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "node_modules").symlink_to(HERE / "node_modules")
    for name in TYPESCRIPT:
        (folder / name).mkdir()
        shutil.copy(PROGRAMS / f"{name}.ts", folder / name)
    binaries = folder / "node_modules" / ".bin"
    hey = ["-i", str(document), "-o", "hey/client", "-c", "@hey-api/client-fetch"]
    run(str(binaries / "openapi-ts"), *hey, cwd=folder)
    orval = ["--input", str(document), "--output", str(folder / "orval/client/api.ts"), "--client", "fetch"]
    run(str(binaries / "orval"), *orval, cwd=folder)
    generate(document, "typescript-fetch", folder / "fetch" / "client")
    shutil.copy(PROGRAMS / "tsconfig.json", folder)
    run("node", "node_modules/typescript/bin/tsc", "-p", ".", cwd=folder)
    bundle = ("--bundle", "--format=esm", "--platform=node", "--log-level=error", "--out-extension:.js=.mjs")
    run(
        str(binaries / "esbuild"),
        *(f"{name}/{name}.ts" for name in TYPESCRIPT),
        *bundle,
        "--outdir=.",
        cwd=folder,
    )
    return {name: folder / name / f"{name}.mjs" for name in TYPESCRIPT}


@needs_packages
@pytest.mark.parametrize("name", TYPESCRIPT)
def test_a_client_in_typescript_sends_and_reads(
    typescript: Mapping[str, Path], name: str, address: str, image: Path, expected: np.ndarray
) -> None:
    printed = run("node", str(typescript[name]), address, KEY, str(image))
    np.testing.assert_allclose(json.loads(printed), expected, rtol=1e-6)


def test_a_client_of_openapi_generator_in_python_sends_and_reads(
    document: Path, address: str, image: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    generate(document, "python", tmp_path)
    program = str(PROGRAMS / "generated.py")
    # Types of the program are checked; the generated code itself is not written for strict mypy.
    options = [
        "--strict",
        "--follow-imports=silent",
        "--config-file=",
        "--cache-dir",
        str(tmp_path / "cache"),
    ]
    run(sys.executable, "-m", "mypy", *options, program, cwd=tmp_path, MYPYPATH=str(tmp_path))
    printed = run(sys.executable, program, address, KEY, str(image), PYTHONPATH=str(tmp_path))
    np.testing.assert_allclose(json.loads(printed), expected, rtol=1e-6)


def test_a_client_of_openapi_generator_in_java_sends_and_reads(
    document: Path, address: str, image: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    jar = generator_jar()
    if not HTTPMIME.exists() or shutil.which("javac") is None:
        pytest.skip("the client in Java needs a JDK and Apache httpmime (package libhttpmime-java)")
    generate(
        document,
        "java",
        tmp_path,
        "--library",
        "native",
        "-p",
        "openApiNullable=false,hideGenerationTimestamp=true",
    )
    sources = [*(tmp_path / "src" / "main").rglob("*.java"), *PROGRAMS.rglob("*.java")]
    libraries = ["-cp", f"{jar}:{HTTPMIME}:{tmp_path}"]
    quick = [f"-J{option}" for option in QUICK]
    run("javac", *quick, "-nowarn", "-encoding", "UTF-8", "-d", str(tmp_path), *libraries, *map(str, sources))
    printed = run("java", *QUICK, *libraries, "Ask", address, KEY, str(image))
    np.testing.assert_allclose(json.loads(printed), expected, rtol=1e-6)
