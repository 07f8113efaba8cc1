"""Without keys, no page of another site can ask by a rebound name, or change what is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings

KEY = "key-of-some-length"


@pytest.fixture(scope="module")
def client(bundle_folder: Path) -> Iterator[TestClient]:
    settings = Settings(
        store=str(bundle_folder.parents[1]), allow_loading=True, allowed_hosts=["testserver", "own.example"]
    )
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]:8000", "10.2.3.4", "own.example:80"]
)
def test_own_names_and_addresses_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example:8000", "x:y"],
)
@pytest.mark.parametrize("path", ["/models", "/", "/livez"])
def test_other_names_are_refused_with_the_setting_that_admits_them(
    client: TestClient, host: str, path: str
) -> None:
    response = client.get(path, headers={"host": host})
    assert response.status_code == 421
    assert "ANYVIEW_ALLOWED_HOSTS" in response.json()["detail"]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:9999", "null"])
@pytest.mark.parametrize("path", ["/models/tiny/unload", "/v2/repository/models/tiny/load"])
def test_pages_of_other_origins_change_nothing(client: TestClient, origin: str, path: str) -> None:
    response = client.post(path, headers={"origin": origin, "content-type": "text/plain"}, content=b"{}")
    assert response.status_code == 403
    assert "may not change" in response.json()["detail"]


def test_the_services_own_page_and_other_clients_may_change_models(client: TestClient) -> None:
    assert client.post("/models/tiny/load", headers={"origin": "http://testserver"}).status_code == 200
    assert client.post("/models/tiny/load").status_code == 200


def test_any_name_is_answered_where_the_setting_says_so_or_keys_are_set(bundle_folder: Path) -> None:
    store = str(bundle_folder.parents[1])
    for settings in (
        Settings(store=store, allowed_hosts=["*"]),
        Settings(store=store, allowed_hosts=[], api_keys=[KEY]),
    ):
        with TestClient(create_app(settings)) as client:
            headers = {"host": "evil.example", "authorization": f"Bearer {KEY}"}
            assert client.get("/models", headers=headers).status_code == 200
