"""Behind a proxy that puts a prefix before the paths: documents and the page name no address of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings

PREFIX = {"X-Forwarded-Prefix": "/anyview"}


@pytest.fixture(scope="module")
def store(bundle_folder: Path) -> str:
    return str(bundle_folder.parents[1])


@pytest.fixture(scope="module")
def proxied(store: str) -> Iterator[TestClient]:
    """Requests of a proxy at 10.1.2.3, which is trusted."""
    app = create_app(Settings(store=store, trusted_proxies=["10.0.0.0/8"], allow_loading=True))
    with TestClient(app, client=("10.1.2.3", 5000)) as client:
        yield client


def servers(client: TestClient, headers: dict[str, str]) -> list[dict[str, str]]:
    servers: list[dict[str, str]] = client.get("/openapi.json", headers=headers).json()["servers"]
    return servers


def test_the_document_names_the_prefix_of_a_trusted_proxy(proxied: TestClient) -> None:
    assert servers(proxied, PREFIX) == [{"url": "/anyview"}]
    assert servers(proxied, {"X-Forwarded-Prefix": "/a/b-c/"}) == [{"url": "/a/b-c"}]
    assert servers(proxied, {}) == [{"url": "/"}], "a prefix of another request was kept"


@pytest.mark.parametrize(
    "sent", ["//elsewhere.example", "http://elsewhere.example", "/a b", "/%2e", "a", "/a//b"]
)
def test_a_prefix_that_is_no_path_is_ignored(proxied: TestClient, sent: str) -> None:
    assert servers(proxied, {"X-Forwarded-Prefix": sent}) == [{"url": "/"}]


def test_headers_of_any_other_client_change_nothing(store: str) -> None:
    sent = {**PREFIX, "X-Forwarded-Host": "elsewhere.example", "Forwarded": "host=elsewhere.example"}
    with TestClient(create_app(Settings(store=store)), client=("192.0.2.1", 5000)) as stranger:
        for path in ("/openapi.json", "/docs", "/"):
            assert stranger.get(path, headers=sent).content == stranger.get(path).content


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_addresses_in_a_page_are_relative(proxied: TestClient, path: str) -> None:
    page = proxied.get(path).text
    addresses = re.findall(r"""(?:href|src)=["']([^"']*)|url: ["']([^"']*)""", page)
    assert addresses
    for address in ("".join(groups) for groups in addresses):
        assert not address.startswith(("/", "http"))
        assert address.startswith(("data:", "#")) or proxied.get(f"/{address.removeprefix('./')}").is_success


def test_the_setting_names_the_prefix_in_the_document_that_is_printed(store: str) -> None:
    with TestClient(create_app(Settings(store=store, root_path="/anyview"))) as client:
        assert servers(client, {}) == [{"url": "/anyview"}]


@pytest.mark.parametrize(
    "sent",
    [{"X-Forwarded-Host": "views.example"}, {"Forwarded": 'for=1.2.3.4; host="views.example";proto=https'}],
)
def test_a_page_behind_a_proxy_may_change_which_models_are_loaded(
    proxied: TestClient, sent: dict[str, str]
) -> None:
    origin = {"Origin": "https://views.example"}
    assert proxied.post("/models/tiny/load", headers=origin).status_code == 403
    assert proxied.post("/models/tiny/load", headers={**origin, **sent}).status_code == 200
    other = {"Origin": "https://elsewhere.example", **sent}
    assert proxied.post("/models/tiny/load", headers=other).status_code == 403


def test_a_trusted_proxy_must_be_an_address_or_a_network() -> None:
    with pytest.raises(ValueError, match=r"'proxy\.example' does not appear to be an IPv4 or IPv6 network"):
        Settings(trusted_proxies=["proxy.example"])
