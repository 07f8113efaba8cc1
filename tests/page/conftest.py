"""The system's Chromium, and services for it to look at."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.servers import free_port
from models_store.folder import SHIPPED
from tests.docs.blocks import ROOT
from tests.service.running import readiness, until

DEFAULT = re.findall(r"ANYVIEW_DEFAULT_MODEL \?= (\w+)", (ROOT / "Makefile").read_text())[0]
"""The model that ``make serve`` answers with unless another is named."""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

Launch = Callable[[Sequence[str]], Browser]


@contextmanager
def service_at(port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The shipped models on that port, once they answer."""
    command = [sys.executable, "-m", "service", "--port", str(port), "--store", str(SHIPPED)]
    command += ["--default-model", DEFAULT, "--grace-seconds", "0", *options]
    process = subprocess.Popen(command)  # noqa: S603 - our own program
    try:
        until(lambda: process.poll() is not None or readiness(f"http://127.0.0.1:{port}") == 200, 120)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="package")
def shipped() -> Iterator[str]:
    """The address of a service with the shipped models."""
    port = free_port()
    with service_at(port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="package")
def chromium() -> Iterator[Launch]:
    """Starts the system's browser, with the options given.

    Ends with these tests: Playwright's event loop would be in the way of other tests' own.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    expect.set_options(timeout=60_000)  # on a busy machine
    with sync_playwright() as playwright:
        yield lambda options: playwright.chromium.launch(executable_path=CHROMIUM, args=options)


@pytest.fixture(scope="package")
def browser(chromium: Launch) -> Iterator[Browser]:
    started = chromium([])
    yield started
    started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of which every message of an error fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert not errors
