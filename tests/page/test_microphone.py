"""A word that is spoken into a microphone, which here is a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect

from tests.page.browsing import answer, card, open_page, pixels
from tests.page.conftest import Launch
from tests.service.running import until

SEVEN = Path(__file__).parents[1] / "data" / "fsdd" / "wav" / "7_jackson_0.wav"


@pytest.fixture(scope="module")
def browser(chromium: Launch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Hears the word once in eight seconds, again and again; a recording is shorter than that."""
    word, rate = soundfile.read(SEVEN)
    heard = tmp_path_factory.mktemp("microphone") / "heard.wav"
    soundfile.write(heard, np.concatenate([np.zeros(2 * rate), word, np.zeros(6 * rate)]), rate, "PCM_16")
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    started = chromium([*fake, f"--use-file-for-fake-audio-capture={heard}"])
    yield started
    started.close()


def test_a_seven_that_is_spoken_is_seen_and_read_as_7(page: Page, shipped: str) -> None:
    open_page(page, shipped, "digits")
    sound = card(page, "sound")

    def is_read_as_7() -> bool:
        """Records once. A busy machine may begin to record after the word; it comes again."""
        sound.get_by_role("button", name="Record sound").click()
        with suppress(AssertionError):
            expect(page.locator("#verdict")).to_contain_text("From sound: label 7", timeout=10_000)
            return True
        return False

    until(is_read_as_7, 120)
    expect(answer(page, "label").locator(".best .name")).to_have_text("7")
    assert np.ptp(pixels(sound.locator("canvas.spectrum"))) > 200
    expect(sound.get_by_role("button", name="Play sound")).to_be_enabled()
