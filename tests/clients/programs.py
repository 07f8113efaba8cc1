"""Programs that generate, compile and run clients, and the service that the clients use."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.service.asking import npy

HERE = Path(__file__).parent
KEY = "the-key-of-all-clients"
KEYED = {"authorization": f"Bearer {KEY}"}
ODD_LABELS = ('sea, "deep"', "snow 🦉", "it's")
"""Labels with a comma, quotation marks, an apostrophe and an emoji."""
# Line ends, zeros, dashes of a boundary, and bytes that are not UTF-8, which a client of text would change.
PICTURE = npy(
    np.array([[0, 255, 13, 10], [26, 128, 45, 45], [13, 10, 0, 250], *[[1, 2, 3, 254]] * 3], np.uint8)[None]
)

needs_packages = pytest.mark.skipif(
    shutil.which("node") is None or not (HERE / "node_modules").is_dir(),
    reason="npm and its packages are needed: run `npm ci` in tests/clients",
)


def run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    """Run a program, which must succeed, and return its output."""
    done = subprocess.run(  # noqa: S603 - our own programs
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
