"""Runs the notebook of docs/, and writes its outputs: ``python -m tests.clients.notebook ADDRESS``."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parents[2] / "docs" / "client.ipynb"
ADDRESS = "http://localhost:8000"


def outputs(cells: list[dict[str, Any]], address: str) -> Iterator[str]:
    """Yields what each cell of code prints, with a service at another address."""
    names: dict[str, Any] = {}
    for cell in cells:
        code = "".join(cell["source"]).replace(ADDRESS, address)
        compiled = compile(code, str(NOTEBOOK), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            result = eval(compiled, names)  # noqa: S307 - the project's own notebook
            if inspect.iscoroutine(result):
                asyncio.run(result)
        yield printed.getvalue()


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def main(address: str) -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    cells = code_cells(notebook)
    for number, (cell, text) in enumerate(zip(cells, outputs(cells, address), strict=True), 1):
        cell["execution_count"] = number
        stream = {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}
        cell["outputs"] = [stream] if text else []
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
