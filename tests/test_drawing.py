"""``make dashboard`` says what it lacks."""

from __future__ import annotations

import subprocess
import sys

PROGRAMS = ("npm", "prometheus", "chromium")


def test_a_program_that_is_missing_is_named() -> None:
    command = [sys.executable, "-m", "monitoring.drawing"]
    ended = subprocess.run(command, env={"PATH": ""}, capture_output=True, text=True)  # noqa: S603
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert [line.partition(" is missing: ")[0] for line in lines] == list(PROGRAMS)
    assert all("apt-get install" in line for line in lines)
