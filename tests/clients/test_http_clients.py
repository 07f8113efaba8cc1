"""HTTP clients that languages bring along, with their default settings, get right answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.clients.programs import HERE, KEY, KEYED, run
from tests.clients.test_generators import QUICK
from tests.service.asking import SEVEN

PROGRAMS = HERE / "http"
ROWS = json.dumps({"inputs": {"animal": ["owl", "cat"]}})

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(address: str) -> list[list[float]]:
    """Posterior means of two labels."""
    headers = {**KEYED, "content-type": "application/json"}
    answer = httpx.post(f"{address}/models/kinds/encode", content=ROWS, headers=headers)
    means: list[list[float]] = answer.json()["mu"]
    return means


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same two labels by their indices."""
    file = tmp_path_factory.mktemp("rows") / "rows.npz"
    np.savez(file, animal=np.array([2, 0]))
    return file


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def means(printed: str) -> list[list[list[float]]]:
    return [json.loads(line)["mu"] for line in printed.splitlines()]


@needs("java")
def test_the_client_of_java(address: str, archive: Path, expected: list[list[float]]) -> None:
    printed = run("java", *QUICK, str(PROGRAMS / "Fetch.java"), address, KEY, str(archive))
    np.testing.assert_allclose(means(printed), [expected] * 3, rtol=1e-6)


@needs("node")
def test_fetch_of_node(address: str, archive: Path, expected: list[list[float]]) -> None:
    printed = run("node", str(PROGRAMS / "fetch.mjs"), address, KEY, str(archive))
    np.testing.assert_allclose(means(printed), [expected] * 4, rtol=1e-6)


@needs("go")
def test_the_client_of_go(address: str, archive: Path, expected: list[list[float]], tmp_path: Path) -> None:
    command = ("go", "run", str(PROGRAMS / "fetch.go"), address, KEY, str(archive))
    printed = run(*command, GOCACHE=str(tmp_path), GOPATH=str(tmp_path), GO111MODULE="off")
    np.testing.assert_allclose(means(printed), [expected] * 3, rtol=1e-6)


def curl(*options: str) -> str:
    return run(
        "curl", "--silent", "--show-error", "--fail-with-body", "-H", f"Authorization: Bearer {KEY}", *options
    )


OFFERS = {
    "HTTP/2 offered": ["--http2"],
    "HTTP/1.1": ["--http1.1"],
    "HTTP/1.0": ["--http1.0"],
    "in chunks": ["--http2", "-H", "Transfer-Encoding: chunked"],
    "after 100 Continue": ["-H", "Expect: 100-continue"],
    "compressed": ["--compressed", "--http2"],
}


@needs("curl")
@pytest.mark.parametrize("options", OFFERS.values(), ids=OFFERS)
def test_curl(address: str, archive: Path, expected: list[list[float]], options: list[str]) -> None:
    url = f"{address}/models/kinds/encode"
    for media, body in (("application/json", ROWS), ("application/x-npz", f"@{archive}")):
        printed = curl(*options, "-H", f"Content-Type: {media}", "--data-binary", body, url)
        np.testing.assert_allclose(means(printed), [expected], rtol=1e-6)


@needs("curl")
def test_curl_uploads_a_picture(address: str, tmp_path: Path) -> None:
    picture = tmp_path / "seven.png"
    picture.write_bytes(SEVEN)
    printed = curl("--http2", "-F", f"image=@{picture}", "-F", "animal=owl", f"{address}/models/kinds/encode")
    assert json.loads(printed)["cond_mod"] == ["image", "animal"]


@needs("curl")
def test_curl_sends_two_requests_on_one_connection(address: str, expected: list[list[float]]) -> None:
    url = f"{address}/models/kinds/encode"
    options = ["--http2", "-w", "\n%{num_connects}\n", "-H", "Content-Type: application/json", "--data", ROWS]
    first, opened, second, more = curl(*options, url, url).splitlines()
    np.testing.assert_allclose(means(f"{first}\n{second}"), [expected] * 2, rtol=1e-6)
    assert (opened, more) == ("1", "0")
