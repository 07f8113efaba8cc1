"""What docs/client.ipynb and the client's README show is what a service with a shipped model answers."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator

import pytest

from service.app import create_app
from service.settings import Settings
from tests.clients.notebook import ADDRESS, NOTEBOOK, code_cells, outputs
from tests.docs.blocks import ROOT, blocks
from tests.service.running import running


@pytest.fixture(scope="module")
def shipped() -> Iterator[str]:
    with running(create_app(Settings(default_model="mnist", poll_seconds=0))) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_notebook_prints_what_it_shows(shipped: str) -> None:
    cells = code_cells(json.loads(NOTEBOOK.read_text()))
    for cell, printed in zip(cells, outputs(cells, shipped), strict=True):
        shown = "".join(line for output in cell["outputs"] for line in output["text"])
        assert printed == shown, f"run: python -m tests.clients.notebook {ADDRESS}"


def test_the_program_of_the_readme_runs(shipped: str) -> None:
    (program,) = (
        block.code for block in blocks(ROOT / "clients/python/README.md") if block.language == "python"
    )
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program.replace(ADDRESS, shipped), {})  # noqa: S102 - the project's own document
    assert printed.getvalue().startswith("7 ")
