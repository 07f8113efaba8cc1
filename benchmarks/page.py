"""Measures the delay of the page after a stroke, for every shipped model: ``make bench-page``.

A browser draws on the first pad of each kind and types into the first table, as a hand would. Timed is,
within the browser, from the last movement of the pen until the frame in which the answer to the whole stroke
is seen. Only one question is on its way at a time, so the last may have to wait for that before it.
Service and browser share the cores of the process; ``taskset -c 1 python -m benchmarks.page`` gives them one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from playwright.sync_api import Locator, Page, sync_playwright

from benchmarks.servers import anyview

GOAL = 150
VIEWS = ("posterior", "targets")

REMEMBER_INPUT = """
for (const kind of ["pointermove", "keydown"])
    addEventListener(kind, (event) => (window.lastInput = event.timeStamp), true);
"""
SHOWN = """() => {
    const [answer] = performance.getEntriesByName("anyview:answer");
    return answer?.startTime >= window.lastInput && answer.startTime + answer.duration - window.lastInput;
}"""


def main(strokes: int) -> None:
    cores = os.sched_getaffinity(0)
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    print(f"cores: {len(cores)}\n\n| model | card | strokes | median, ms | p95, ms | goal, ms |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    with anyview(None, cores=cores) as server, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser)
        address = f"http://127.0.0.1:{server.port}"
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(REMEMBER_INPUT)
        page.goto(address)
        page.locator("#model").wait_for()
        for model in page.locator("#model option").all_inner_texts():
            for card, times in measured(page, f"{address}/#{model}", strokes):
                median, high = statistics.median(times), np.quantile(times, 0.95)
                print(f"| {model} | {card} | {len(times)} | {median:.0f} | {high:.0f} | {GOAL} |", flush=True)
        chromium.close()


def measured(page: Page, address: str, strokes: int) -> Iterator[tuple[str, list[float]]]:
    """By the name of a card, the first of its kind, the milliseconds until each stroke on it was answered."""
    page.goto("about:blank")
    page.goto(address)
    page.locator(".shares span").first.wait_for(state="attached")
    rng = np.random.default_rng(0)
    measured_kinds = set()
    for card in page.locator("article.card").all():
        kind, name = card.locator(".kind").inner_text(), card.locator("h3").inner_text()
        pad, field = card.locator("canvas.pad"), card.locator("input[type=text]")
        if kind in measured_kinds or not (pad.count() or field.count()):
            continue
        measured_kinds.add(kind)
        for folded in card.locator("summary").all():
            folded.click()
        times = []
        for _ in range(strokes):
            card.get_by_role("button", name="Clear").click()
            act = partial(draw, page, pad) if pad.count() else partial(write, field.first)
            times.append(_answered(page, partial(act, rng)))
        yield name, times
        page.locator("#reset").click()


def _answered(page: Page, act: Callable[[], None]) -> float:
    act()
    milliseconds: float = page.wait_for_function(SHOWN).json_value()
    return milliseconds


def draw(page: Page, pad: Locator, rng: np.random.Generator) -> None:
    """A curve through five places, in 33 movements."""
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    places = 0.1 + 0.8 * rng.random((5, 2))
    for number, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8 if number else 1)
        if not number:
            page.mouse.down()
    page.mouse.up()


def write(field: Locator, rng: np.random.Generator) -> None:
    """A number, ten keys a second."""
    field.press_sequentially(f"{rng.random():.2f}", delay=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--strokes", type=int, default=20, help="on every card")
    main(parser.parse_args().strokes)
