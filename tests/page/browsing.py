"""Actions of a person on the page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import FloatRect, Locator, Page, expect

SEVEN = [(0.25, 0.22), (0.75, 0.22), (0.6, 0.5), (0.45, 0.85)]


def open_page(page: Page, address: str, model: str) -> None:
    """Opens the page and waits for the first responses."""
    page.goto(f"{address}/#{model}")
    wait_for_responses(page)


def wait_for_responses(page: Page) -> None:
    """Waits until the page shows its first responses; a card drawn on earlier may be replaced."""
    expect(page.locator("#verdict")).not_to_be_empty()
    expect(page.locator(".shares span").first).to_be_attached()


def card(page: Page, name: str) -> Locator:
    return page.locator(f"article.card[aria-labelledby='card-{name}']")


def answer(page: Page, name: str) -> Locator:
    return page.locator(f"article.answer[aria-labelledby='answer-{name}']")


def draw(page: Page, name: str, points: list[tuple[float, float]] = SEVEN) -> None:
    """One stroke on the pad of a card."""
    pad = card(page, name).locator("canvas.pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(*_place(box, points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*_place(box, point), steps=6)
    page.mouse.up()


def _place(box: FloatRect, point: tuple[float, float]) -> tuple[float, float]:
    return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]


def pixels(canvas: Locator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Grey levels of a canvas, ``(height, width)``."""
    address: str = canvas.evaluate("canvas => canvas.toDataURL()")
    content = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))
