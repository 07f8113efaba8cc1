"""A person in front of the page, with the models that come with the project."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

import httpx2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from benchmarks.servers import free_port
from tests.page.browsing import answer, card, draw, open_page, pixels
from tests.page.conftest import service_at
from tests.service.asking import npy
from tests.service.running import until


def test_a_seven_that_is_drawn_is_read_as_7(page: Page, shipped: str) -> None:
    open_page(page, shipped, "mnist")
    draw(page, "image")
    expect(page.locator("#verdict")).to_have_text(re.compile(r"From image: label 7 \((9\d|> 99) %\)"))
    expect(answer(page, "label").locator(".best .name")).to_have_text("7")


def test_the_digit_is_sent_as_those_of_mnist_lie_in_their_frame(page: Page, shipped: str) -> None:
    """20 of 28 pixels, and the centre of mass in the middle, wherever it was drawn."""
    open_page(page, shipped, "mnist")
    draw(page, "image", [(0.05, 0.05), (0.3, 0.05), (0.2, 0.3)])

    def is_framed() -> bool:
        """Whether the canvas shows the whole stroke so; it is painted when the page sends it."""
        seen = pixels(card(page, "image").locator("canvas.seen")).astype(float)
        rows, columns = np.nonzero(seen > 30)
        if not rows.size or abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 20) > 1:
            return False
        middle = [(seen * place).sum() / seen.sum() for place in np.indices(seen.shape)]
        return middle == pytest.approx([13.5, 13.5], abs=0.5)

    until(is_framed)


def test_threes_are_shown_for_the_label_3(page: Page, shipped: str) -> None:
    open_page(page, shipped, "mnist")
    card(page, "label").get_by_role("radio", name="3", exact=True).click()
    expect(page.locator("#verdict")).to_have_text("From label 3: image below")
    shown = pixels(answer(page, "image").locator("canvas.grid"))  # 3 × 3, a pixel apart
    tiles = [shown[29 * i : 29 * i + 28, 29 * j : 29 * j + 28] for i in range(3) for j in range(3)]
    files = {"image": ("x.npy", npy(np.stack(tiles)))}
    read = httpx2.post(f"{shipped}/models/mnist/generate?gen_mod=label", files=files, timeout=60).json()
    assert [row[0] for row in read["targets"]["label"]["ranked"]].count("3") >= 7


def test_a_view_that_is_switched_off_counts_no_more(page: Page, shipped: str) -> None:
    open_page(page, shipped, "mnist")
    draw(page, "image")
    card(page, "label").get_by_role("radio", name="7", exact=True).click()
    expect(page.locator("#verdict")).to_contain_text("From image and label 7")
    switch = card(page, "label").get_by_role("switch")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    expect(page.locator("#verdict")).to_contain_text("From image: ")
    switch.click()
    expect(page.locator("#verdict")).to_contain_text("From image and label 7")


def test_nothing_observed_is_the_prior_and_is_called_so(page: Page, shipped: str) -> None:
    open_page(page, shipped, "mnist")
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("#verdict")).to_contain_text("Before anything is known")
    expect(page.locator("#posterior")).to_contain_text("0.0 nats learned: nothing is observed")


def test_views_that_contradict_each_other_are_told_apart(page: Page, shipped: str) -> None:
    open_page(page, shipped, "mnist")
    draw(page, "image")
    card(page, "label").get_by_role("radio", name="7", exact=True).click()
    expect(page.locator("#verdict")).to_contain_text("From image and label 7")
    expect(page.locator(".warning")).to_be_empty()
    card(page, "label").get_by_role("radio", name="4", exact=True).click()
    expect(page.locator(".warning")).to_contain_text("image and label contradict each other")


def test_of_an_example_one_view_is_given_and_the_others_can_be_switched_on(page: Page, shipped: str) -> None:
    open_page(page, shipped, "digits")
    page.get_by_role("button", name="Show an example").click()
    expect(page.locator("#verdict")).to_contain_text("From image: label")
    expect(page.get_by_role("switch").filter(has_text="kept back")).to_have_count(3)
    truth = card(page, "label").get_by_role("radio", checked=True).get_attribute("value")
    assert truth is not None
    assert truth.isdecimal()
    expect(answer(page, "label").locator(".best .name")).to_have_text(truth)
    card(page, "sound").get_by_role("switch").click()
    expect(page.locator("#verdict")).to_contain_text("From image and sound: label")
    page.get_by_role("button", name="Show an example").click()
    expect(page.locator("#verdict")).to_contain_text("From strokes: label")


def test_a_drawing_is_placed_as_the_pictures_that_the_model_has_learned_from(
    page: Page, shipped: str
) -> None:
    """Those of mfeat fill their frame, to which they were stretched."""
    open_page(page, shipped, "mfeat")
    draw(page, "pix", [(0.4, 0.3), (0.6, 0.3), (0.55, 0.5), (0.5, 0.7)])
    expect(page.locator("#verdict")).to_contain_text("From pix: label 7")

    def fills_the_frame() -> bool:
        places = np.nonzero(pixels(card(page, "pix").locator("canvas.seen")) > 30)
        return all(np.ptp(along) + 1 >= side - 1 for along, side in zip(places, (16, 15), strict=True))

    until(fills_the_frame)


def test_hundreds_of_numbers_are_seen_as_a_curve(page: Page, shipped: str) -> None:
    open_page(page, shipped, "mfeat")
    many = card(page, "fou")
    expect(many.get_by_role("textbox")).to_have_count(0)
    many.get_by_role("button", name="Use an example: fou").click()
    expect(many.locator("figcaption")).to_contain_text("76 of 76 numbers")
    many.get_by_text("Type or paste the 76 numbers").click()
    many.get_by_role("textbox").first.fill("")
    expect(many.locator("figcaption")).to_contain_text("75 of 76 numbers")


def test_of_a_bad_file_the_service_says_what_is_wrong(page: Page, shipped: str) -> None:
    open_page(page, shipped, "mnist")
    bad = {"name": "notes.png", "mimeType": "image/png", "buffer": b"not a picture"}
    card(page, "image").locator("input[type=file]").set_input_files(bad)  # type: ignore[arg-type]
    expect(card(page, "image").locator(".refused")).to_contain_text("no readable picture")
    draw(page, "image")
    expect(card(page, "image").locator(".refused")).to_be_empty()


COUNT_REQUESTS = """
    const send = window.fetch;
    let underWay = 0;
    window.mostAtOnce = 0;
    window.fetch = async (path, options) => {
        const counts = String(path).includes("/generate");
        if (counts) window.mostAtOnce = Math.max(window.mostAtOnce, ++underWay);
        try {
            return await send(path, options);
        } finally {
            if (counts) underWay -= 1;
        }
    };
"""
"""Counts within the page: events about requests reach the test in any order."""


def test_only_one_question_of_a_view_is_on_its_way_however_fast_one_draws(page: Page, shipped: str) -> None:
    page.add_init_script(COUNT_REQUESTS)
    open_page(page, shipped, "mnist")
    draw(page, "image", [(0.1 + 0.8 * (i % 2), 0.1 + 0.04 * i) for i in range(20)])
    expect(page.locator("#verdict")).to_contain_text("From image: ")
    assert page.evaluate("mostAtOnce") == 1


def test_the_page_works_with_the_keyboard_alone(page: Page, shipped: str) -> None:
    open_page(page, shipped, "mnist")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "label":
            break
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#verdict")).to_have_text("From label 1: image below")
    pad = card(page, "image").locator("canvas.pad")
    for _ in range(20):
        page.keyboard.press("Tab")
        if pad.evaluate("pad => pad === document.activeElement"):
            break
    for key in ["ArrowUp"] * 8 + [" "] + ["ArrowDown"] * 16:  # a one
        page.keyboard.press(key)
    expect(page.locator("#verdict")).to_contain_text("From image and label 1")
    expect(page.locator(".warning")).to_be_empty()


def in_bash(code: str) -> list[str]:
    """The body, and the first of the two questions."""
    body, ask, _ = code.split("\n\n")
    return ["bash", "-c", f"{body}\n{ask}"]


def in_node(code: str) -> list[str]:
    program, _, _ = code.rpartition("\n")
    return ["node", "--input-type=module", "-e", f"{program}\nconsole.log(JSON.stringify(generated));"]


def in_python(code: str) -> list[str]:
    program, _, _ = code.rpartition("\n")
    program = program.replace("import httpx", "import httpx2 as httpx")  # what is installed for the tests
    return [sys.executable, "-c", f"{program}\nimport json\nprint(json.dumps(generated))"]


@pytest.mark.parametrize(
    ("language", "run"), [("curl", in_bash), ("Python", in_python), ("TypeScript", in_node)]
)
def test_the_copied_program_gets_the_answer_that_is_shown(
    page: Page, shipped: str, language: str, run: Callable[[str], list[str]]
) -> None:
    open_page(page, shipped, "mnist")
    draw(page, "image")
    expect(page.locator("#verdict")).to_contain_text("From image: label 7")
    page.get_by_text("Ask this from a program").click()
    page.get_by_role("button", name=language).click()
    command = run(page.locator("#snippets code").inner_text())
    if any(shutil.which(program) is None for program in (command[0], "curl")):
        pytest.skip(f"no {command[0]} or curl on this machine")
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - what was copied
    got = json.loads(done.stdout)
    assert got["seed"] == 1
    assert got["targets"]["label"]["ranked"][0][0] == "7"
    assert len(got["targets"]["image"]["samples"][0]) == 9


def test_the_page_says_when_the_service_stops_and_goes_on_when_it_is_back(page: Page) -> None:
    port = free_port()
    with service_at(port) as process:
        open_page(page, f"http://127.0.0.1:{port}", "mnist")
        process.terminate()
        process.wait()
        expect(page.locator("#away")).to_contain_text("The service does not answer.")
        draw(page, "image")
    with service_at(port):
        expect(page.locator("#away")).to_be_empty()
        expect(page.locator("#verdict")).to_contain_text("From image: label 7")


@pytest.mark.parametrize(
    ("model", "scheme", "width"),
    [("mnist", "light", 1600), ("mnist", "dark", 360), ("digits", "dark", 768), ("mfeat", "light", 360)],
)
def test_axe_finds_nothing_to_complain_of(
    browser: Browser, shipped: str, model: str, scheme: str, width: int
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = context.new_page()
    open_page(page, shipped, model)
    page.get_by_role("button", name="Show an example").click()
    expect(page.locator("#verdict")).not_to_contain_text("From label")
    for summary in page.locator("summary").all():
        summary.click()
    actual = Axe().run(page).response["violations"]
    context.close()
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in actual] == []


def test_nothing_is_wider_than_the_screen(page: Page, shipped: str) -> None:
    open_page(page, shipped, "mnist")
    for model in page.locator("#model option").all_inner_texts():
        page.locator("#model").select_option(model)
        expect(page.locator("#about summary")).to_contain_text(f"About {model}")
        page.get_by_role("button", name="Show an example").click()
        expect(page.locator("#verdict")).not_to_contain_text("From label")
        for width in (1600, 768, 360):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, model
            last = page.get_by_role("link", name="API").bounding_box()
            assert last is not None
            assert last["x"] + last["width"] <= width


def test_nothing_is_loaded_from_elsewhere_and_nothing_complained_of(page: Page, shipped: str) -> None:
    requested: list[str] = []
    console: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: console.append(message.text))
    open_page(page, shipped, "mnist")
    for model in page.locator("#model option").all_inner_texts():
        page.locator("#model").select_option(model)
        expect(page.locator("#about summary")).to_contain_text(f"About {model}")
        page.get_by_role("button", name="Show an example").click()
        expect(page.locator("#verdict")).not_to_contain_text("From label")
    assert len(requested) > 10
    assert all(url.startswith((f"{shipped}/", "blob:", "data:")) for url in requested)
    assert console == []
