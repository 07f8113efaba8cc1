"""The files of the page, over HTTP."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.testclient import TestClient

from service.routes.page import FOLDER

IMPORT = re.compile(r'(?:from|import) "(\./[^"]+)"')


def test_the_page_comes_with_a_strict_policy(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src" in policy


def test_a_file_that_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/page/app.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/page/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_nothing_but_the_files_of_the_page_is_given_out(client: TestClient) -> None:
    for name in ("nothing.js", "..%2Fapp.py", "__init__.py"):
        assert client.get(f"/page/{name}").status_code == 404


def test_every_file_that_the_page_names_is_there(client: TestClient) -> None:
    named = set(re.findall(r'(?:src|href)="(page/[^"]+)"', client.get("/").text))
    for module in FOLDER.glob("*.js"):
        named |= {f"page/{Path(name).name}" for name in IMPORT.findall(module.read_text())}
    assert len(named) > 10
    assert all(client.get(f"/{name}").status_code == 200 for name in named)


def test_no_file_of_the_page_has_a_style_or_a_program_inside(client: TestClient) -> None:
    html = client.get("/").text
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=", html)
