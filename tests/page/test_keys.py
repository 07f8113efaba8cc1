"""The page before a service that wants a key."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from playwright.sync_api import Page, expect

from benchmarks.servers import free_port
from tests.page.browsing import card, draw, wait_for_responses
from tests.page.conftest import service_at

KEY = "a-key-for-the-page"


@pytest.fixture(scope="module")
def keyed() -> Iterator[str]:
    port = free_port()
    with service_at(port, "--api-keys", json.dumps([KEY])):
        yield f"http://127.0.0.1:{port}"


def give(page: Page, key: str) -> None:
    page.get_by_label("This service wants a key").fill(key)
    page.get_by_role("button", name="Use it").click()


@pytest.mark.parametrize("wrong", ["not-a-key-of-it", "ключ"])
def test_a_wrong_key_is_called_wrong_and_the_right_one_opens_everything(
    page: Page, keyed: str, wrong: str
) -> None:
    page.goto(f"{keyed}/#mnist")
    expect(page.get_by_label("This service wants a key")).to_be_focused()
    expect(page.locator("#key-refused")).to_be_empty()
    give(page, wrong)
    expect(page.locator("#key-refused")).to_have_text("The service does not know this key.")
    give(page, KEY)
    expect(page.locator("#key")).to_be_hidden()
    wait_for_responses(page)
    draw(page, "image")
    expect(page.locator("#verdict")).to_contain_text("From image: label 7")
    page.locator("#about > details > summary").click()
    for picture in page.locator("#about img").all():
        expect(picture).to_have_js_property("complete", True)
        expect(picture).not_to_have_js_property("naturalWidth", 0)


def test_a_key_lasts_as_long_as_its_tab(page: Page, keyed: str) -> None:
    page.goto(f"{keyed}/#mnist")
    give(page, KEY)
    expect(page.locator("#verdict")).not_to_be_empty()
    page.reload()
    expect(page.locator("#verdict")).not_to_be_empty()
    other = page.context.new_page()
    other.goto(keyed)
    expect(other.get_by_label("This service wants a key")).to_be_visible()


def test_a_key_that_is_taken_back_is_asked_for_and_nothing_is_lost(page: Page, keyed: str) -> None:
    page.goto(f"{keyed}/#mnist")
    give(page, KEY)
    wait_for_responses(page)
    draw(page, "image")
    expect(page.locator("#verdict")).to_contain_text("From image: label 7")
    page.evaluate("sessionStorage.setItem('anyview-key', 'taken-back')")
    card(page, "label").get_by_role("radio", name="3", exact=True).click()
    expect(page.locator("#key-refused")).to_have_text("The service does not know this key.")
    with page.expect_response("**/generate?*") as refusal:  # the key is forgotten: none is sent
        card(page, "label").get_by_role("radio", name="7", exact=True).click()
    assert refusal.value.status == HTTPStatus.UNAUTHORIZED
    expect(page.locator("#key-refused")).to_have_text("The service does not know this key.")
    give(page, KEY)
    expect(page.locator("#verdict")).to_contain_text("From image and label 7")


def test_copied_programs_take_the_key_from_their_environment(page: Page, keyed: str) -> None:
    page.goto(f"{keyed}/#mnist")
    give(page, KEY)
    page.get_by_text("Ask this from a program").click()
    code = page.locator("#snippets code")
    expect(code).to_contain_text("$ANYVIEW_KEY")
    assert KEY not in code.inner_text()
    program = re.sub(r"\n\n(curl)", r"\n\1", code.inner_text())
    done = subprocess.run(  # noqa: S603 - what was copied
        ["bash", "-c", program],  # noqa: S607
        env={"ANYVIEW_KEY": KEY, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"targets"' in done.stdout
