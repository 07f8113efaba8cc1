"""The code in the documents, and a place to run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.servers import free_port
from tests import forking

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
WORDS = re.compile(r'(skip|elsewhere)="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One block of code.

    Arguments:
        language: The first word after its fence.
        code: Its text.
        fails: Whether the command must fail; the word ``fails`` after the fence.
        skip: Reason for not running it in a test; ``skip="the reason"`` after the fence.
        elsewhere: The test that runs it, where it takes long; ``elsewhere="tests/…"`` after the fence.
        line: Number of its first line.
    """

    language: str
    code: str
    fails: bool
    skip: str | None
    elsewhere: str | None
    line: int


def blocks(document: Path) -> Iterator[Block]:
    text = document.read_text()
    for match in FENCE.finditer(text):
        info = match["info"]
        attributes = dict(WORDS.findall(info))
        language, *words = WORDS.sub("", info).split() or [""]
        line = text.count("\n", 0, match.start()) + 1
        yield Block(
            language,
            match["code"],
            "fails" in words,
            attributes.get("skip"),
            attributes.get("elsewhere"),
            line,
        )


def at_free_ports(code: str, ports: dict[str, int]) -> str:
    """Replaces every port by that of ``ports``, or by a free one, which is added to ``ports``."""

    def replaced(match: re.Match[str]) -> str:
        if match[2] not in ports:
            ports[match[2]] = free_port()
        return f"{match[1]}{ports[match[2]]}"

    return re.sub(r"(localhost:|127\.0\.0\.1:|--port )(80\d\d)\b", replaced, code)


def elsewhere(document: str, test: str) -> str:
    """The code of the one block of a document that is run by that file of tests."""
    (block,) = (block for block in blocks(ROOT / document) if block.elsewhere == f"tests/{test}")
    return block.code


def in_bash(code: str, folder: Path) -> str:
    """What the commands print, run as they stand in a place that looks like the project."""
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("no curl or bash on this machine")
    done = subprocess.run(  # noqa: S603 - what our own documents say
        ["bash", "-c", f"set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{code}"],  # noqa: S607
        cwd=folder,
        env=workplace(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    return done.stdout


def workplace(folder: Path) -> dict[str, str]:
    """Makes the folder look like the project, and gives an environment in which its commands are these."""
    for path in ROOT.iterdir():
        if path.name not in {".git", ".venv", "store", "runs", "experiment.toml"}:
            (folder / path.name).symlink_to(path)
    return with_commands(folder)


def with_commands(folder: Path) -> dict[str, str]:
    """An environment in which the commands of the project are these.

    ``make`` says what it would do, since the environments that it makes come over the network; curl fails
    where the answer is an error; ``docker compose`` is an older ``docker-compose`` where only that is there.
    """
    commands = folder / ".commands"
    commands.mkdir()
    for name, line in {
        "anyview-serve": f'exec {forking.python()} -m service "$@"',
        "anyview-train": f'exec {forking.python()} -m training "$@"',
        "python": f'exec {forking.python()} "$@"',
        "make": 'exec /usr/bin/env -i PATH=/usr/bin:/bin make --dry-run "$@"',
        "curl": 'PATH=${PATH#*:} exec curl --silent --show-error --fail-with-body "$@"',
        "docker": "PATH=${PATH#*:}\n"
        'if [ "$1" != compose ] || docker compose version &>/dev/null; then exec docker "$@"; fi\n'
        'exec docker-compose "${@:2}"',
    }.items():
        (commands / name).write_text(f"#!/bin/bash\n{line}\n")
        (commands / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANYVIEW_")}
    installed = Path(sys.executable).parent
    added = {
        "PATH": f"{commands}:{installed}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'clients' / 'python' / 'src'}",
        "OMP_NUM_THREADS": "1",
    }
    return {**kept, **added, "ANYVIEW_DATA": str(ROOT / "tests" / "data")}
