"""Videos on the page: a GIF is uploaded and sent as it is, and the answer is played."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from models_store.kinds.video import write_gif
from service.app import create_app
from service.settings import Settings
from tests.page.browsing import answer, card, open_page
from tests.service.kinds import described, publish
from tests.service.running import running

CLIP = described().modality("clip")
GIF = write_gif(CLIP, np.random.default_rng(0).integers(0, 256, CLIP.shape, np.uint8))
STORED = {"name": "clip.gif", "mimeType": "image/gif", "buffer": GIF}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = tmp_path_factory.mktemp("video")
    publish(store)
    with running(create_app(Settings(store=store))) as (host, port):
        yield f"http://{host}:{port}"


def test_an_uploaded_gif_is_sent_as_it_is_and_shown(page: Page, address: str) -> None:
    open_page(page, address, "kinds")
    with page.expect_request(lambda request: "clip" in (request.post_data or "")) as sent:
        card(page, "clip").locator("input[type=file]").set_input_files(STORED)  # type: ignore[arg-type]
    assert sent.value.post_data_json == {"inputs": {"clip": [base64.b64encode(GIF).decode()]}}
    expect(page.locator("#verdict")).to_contain_text("From clip: animal")
    expect(card(page, "clip").get_by_alt_text("clip as it was uploaded")).to_be_visible()
    card(page, "clip").get_by_role("button", name="Clear clip").click()
    expect(card(page, "clip").get_by_alt_text("clip as it was uploaded")).to_be_hidden()
    expect(page.locator("#verdict")).not_to_contain_text("From clip")


def test_the_answer_is_played_and_paused(page: Page, address: str) -> None:
    open_page(page, address, "kinds")
    shown = answer(page, "clip")
    shown.get_by_role("button", name="Play or pause").click()
    expect(shown.get_by_role("button", name="Play or pause")).to_have_text("▶ Play")
    mean = shown.get_by_label("Mean of clip")
    paused = mean.evaluate("canvas => canvas.toDataURL()")
    shown.get_by_role("button", name="Play or pause").click()
    page.wait_for_function(
        "([canvas, before]) => canvas.toDataURL() !== before", arg=[mean.element_handle(), paused]
    )


def test_nothing_moves_by_itself_for_those_who_prefer_less_motion(browser: Browser, address: str) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    open_page(page, address, "kinds")
    expect(answer(page, "clip").get_by_role("button", name="Play or pause")).to_have_text("▶ Play")
    context.close()
