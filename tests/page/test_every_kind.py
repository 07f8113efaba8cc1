"""The page before a model of every kind of modality, which it has never seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from models_store import kinds
from service.app import create_app
from service.settings import Settings
from tests.page.browsing import answer, card, draw, open_page
from tests.service.kinds import described, publish
from tests.service.running import running

WAV = Path(__file__).parents[1] / "data" / "fsdd" / "wav" / "7_jackson_0.wav"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = tmp_path_factory.mktemp("kinds")
    publish(store)
    with running(create_app(Settings(store=store))) as (host, port):
        yield f"http://{host}:{port}"


@pytest.mark.parametrize("name", [name for name in described().names if name != "animal"])
def test_each_modality_can_be_made_up_and_is_then_observed(page: Page, address: str, name: str) -> None:
    open_page(page, address, "kinds")
    card(page, name).get_by_role("button", name=f"Make one up: {name}").click()
    expect(card(page, name).get_by_role("switch")).to_have_attribute("aria-checked", "true")
    expect(page.locator("#verdict")).to_contain_text(f"From {name}: animal")
    expect(answer(page, name)).to_contain_text("as the model sees it")


def test_each_modality_has_an_example_which_is_then_observed(page: Page, address: str) -> None:
    open_page(page, address, "kinds")
    for name in sorted(set(described().names) - {"animal"}):
        card(page, name).get_by_role("button", name=f"Use an example: {name}").click()
        expect(page.locator("#verdict")).to_contain_text(f"From {name}: animal")
        card(page, name).get_by_role("switch").click()


def test_a_vector_is_typed_with_gaps(page: Page, address: str) -> None:
    open_page(page, address, "kinds")
    with page.expect_request(lambda request: "/generate" in request.url) as sent:
        card(page, "body").get_by_role("textbox").nth(1).fill("72,5")
    assert sent.value.post_data_json == {"inputs": {"body": [[None, 72.5, None]]}}
    expect(answer(page, "body").locator("circle.known")).to_have_count(1)


def test_a_row_of_mixed_columns_is_typed_and_chosen_with_gaps(page: Page, address: str) -> None:
    open_page(page, address, "kinds")
    card(page, "patient").get_by_label("patient pulse in 1/min").fill("72,5")
    with page.expect_request(lambda request: "late" in (request.post_data or "")) as sent:
        card(page, "patient").get_by_label("patient stage").select_option("late")
    assert sent.value.post_data_json == {"inputs": {"patient": [[72.5, None, None, None, "late", None]]}}
    expect(answer(page, "patient").locator("tbody tr")).to_have_count(6)
    expect(answer(page, "patient").locator("circle.known")).to_have_count(1)
    expect(answer(page, "patient").locator("tbody tr").nth(3)).to_have_text(
        re.compile(r"smoker(no|yes)\d+ %")
    )


def test_strokes_become_points_at_equal_distances_with_y_upwards(page: Page, address: str) -> None:
    open_page(page, address, "kinds")
    with page.expect_request(lambda request: "stroke" in (request.post_data or "")) as sent:
        draw(page, "stroke", [(0.5, 0.2), (0.5, 0.8)])
    assert sent.value.post_data_json == {"inputs": {"stroke": [[[0, 1], [0, 0.5], [0, 0]]]}}


def test_a_sound_is_shown_and_sent_as_the_file_that_it_is(page: Page, address: str) -> None:
    open_page(page, address, "kinds")
    name = next(modality.name for modality in described().modalities if modality.kind == "audio")
    card(page, name).locator("input[type=file]").set_input_files(WAV)
    expect(page.locator("#verdict")).to_contain_text(f"From {name}: ")
    expect(card(page, name).get_by_role("button", name=f"Play {name}")).to_be_enabled()


def test_the_sound_of_an_example_can_be_heard(page: Page, address: str) -> None:
    open_page(page, address, "kinds")
    name = next(modality.name for modality in described().modalities if modality.kind == "audio")
    card(page, name).get_by_role("button", name=f"Use an example: {name}").click()
    with page.expect_response(re.compile(rf"/examples/\d+/{name}$")) as heard:
        card(page, name).get_by_role("button", name=f"Play {name}").click()
    assert heard.value.body()[:4] == b"RIFF"


def test_the_spectrogram_on_the_page_is_the_one_that_the_model_gets(page: Page, address: str) -> None:
    open_page(page, address, "kinds")
    modality = next(modality for modality in described().modalities if modality.kind == "audio")
    assert modality.spectrogram is not None
    shown = page.evaluate(
        """async ([recipe, bytes]) => {
            const sound = await import("./page/sound.js");
            return sound.spectrogram(recipe, await sound.decode(Uint8Array.from(bytes), recipe.rate));
        }""",
        [modality.spectrogram.model_dump(), list(WAV.read_bytes())],
    )
    levels = kinds.read_file(modality, WAV.read_bytes())[0]
    np.testing.assert_allclose(np.array(shown), levels, atol=1)
