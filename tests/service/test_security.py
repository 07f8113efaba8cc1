"""Keys, and what a browser may do with an answer."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from models_store.folder import SHIPPED
from service.app import create_app
from service.http.security import Keys
from service.settings import Settings, UnusableKeys
from tests.service.asking import SEVEN, parts
from tests.service.running import running

KEY, OTHER = "first-of-the-keys", "second-of-the-keys"
CLOSED = ["/docs", "/openapi.json", "/metrics", "/models", "/models/tiny", "/models/nope", "/nope", "/v2"]


@pytest.fixture(scope="module")
def keyed(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"\n{OTHER}\n")
    return TestClient(
        create_app(Settings(store=bundle_folder.parents[1], api_keys=[KEY], api_keys_file=file))
    )


@pytest.mark.parametrize(
    "authorization", [None, "Bearer wrong-key", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer"]
)
def test_without_a_key_a_keyed_service_tells_nothing_but_health(
    keyed: TestClient, authorization: str | None
) -> None:
    headers = {"authorization": authorization} if authorization else {}
    answers = [keyed.get(path, headers=headers) for path in CLOSED]
    answers.append(keyed.post("/encode", headers=headers, **parts(image=SEVEN)))
    answers.append(keyed.post("/livez", headers=headers))
    assert {(a.status_code, a.headers["www-authenticate"]) for a in answers} == {
        (401, 'Bearer realm="anyview"')
    }
    assert len({a.json()["detail"] for a in answers}) == 1
    assert {a.headers["content-type"] for a in answers} == {"application/problem+json"}
    with keyed:
        assert keyed.get("/livez").json() == {"status": "alive", "missing": []}
        assert keyed.get("/readyz").status_code == 200


def test_which_model_is_missing_is_told_to_those_who_have_a_key(bundle_folder: Path) -> None:
    settings = Settings(store=bundle_folder.parents[1], api_keys=[KEY], models=["hidden"])
    with TestClient(create_app(settings)) as client:
        reported = [client.get("/readyz", headers={"authorization": f"Bearer {key}"}) for key in ("no", KEY)]
    assert [answer.status_code for answer in reported] == [503, 503]
    assert [answer.json()["missing"] for answer in reported] == [[], ["hidden"]]


@pytest.mark.parametrize("authorization", [f"Bearer {KEY}", f"bearer  {OTHER}"])
def test_each_key_opens_everything(keyed: TestClient, authorization: str) -> None:
    with keyed:
        headers = {"authorization": authorization}
        assert keyed.get("/models/tiny", headers=headers).status_code == 200
        assert keyed.post("/encode", headers=headers, **parts(image=SEVEN)).status_code == 200


def test_every_key_is_compared_whatever_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, a wrong one, the first and the last: the same comparisons of digests of the same length."""
    compared: list[tuple[int, int]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr("service.http.security.hmac.compare_digest", compare)
    keys = Keys(lambda *_: None, [KEY, OTHER])  # type: ignore[arg-type]
    assert [keys._accepts(key.encode()) for key in ("", "wrong", KEY, OTHER)] == [False, False, True, True]
    assert compared == [(32, 32)] * 8


def test_the_body_of_who_has_no_key_is_not_read(keyed: TestClient) -> None:
    """The answer comes, and the connection ends, though the body never does."""
    app = keyed.app
    with running(app) as (host, port), socket.create_connection((host, port), 20) as connection:
        connection.sendall(b"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000\r\n\r\n--half")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("content", ["\n", "short\n", "has a space in it\n"])
def test_keys_that_let_in_nobody_or_anybody_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(UnusableKeys):
        Settings(api_keys_file=tmp_path / "keys").check_keys()
    with pytest.raises(UnusableKeys, match="cannot be read"):
        Settings(api_keys_file=tmp_path / "none").check_keys()


@pytest.mark.parametrize(
    ("path", "status"), [("/livez", 200), ("/nope", 404), ("/encode", 405), ("/docs", 200)]
)
def test_headers_that_protect_are_on_every_answer(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert policy.endswith("frame-ancestors 'none'")
    assert ("script-src" in policy) == (path == "/docs")


def test_other_origins_read_nothing_unless_they_are_set(client: TestClient, bundle_folder: Path) -> None:
    asking = {"origin": "https://example.org", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in client.get("/livez", headers=asking).headers
    assert client.options("/encode", headers=asking).status_code == 405
    settings = Settings(store=bundle_folder.parents[1], api_keys=[KEY], cors_origins=["https://example.org"])
    allowed = TestClient(create_app(settings))
    answer = allowed.options("/encode", headers={**asking, "access-control-request-headers": "authorization"})
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    assert answer.headers["x-content-type-options"] == "nosniff"
    other = allowed.options("/encode", headers={**asking, "origin": "https://example.com"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("module", ["service.engine.sessions", "training.export"])
def test_nothing_is_kept_or_sent_for_the_makers_of_onnxruntime(module: str, tmp_path: Path) -> None:
    graph = SHIPPED / "mnist" / "2" / "label.encoder.onnx"
    program = f"import {module}, onnxruntime; onnxruntime.InferenceSession({str(graph)!r})"
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(SHIPPED.parents[1])}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)  # noqa: S603
    assert not (tmp_path / ".cache" / "Microsoft").exists()  # where it keeps what it is to send
