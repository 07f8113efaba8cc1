"""A copy of the project, in which commands may write files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks.servers import free_port
from tests.docs.blocks import ROOT
from tests.service.running import readiness, until

NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", "__pycache__", "*.egg-info", "build", "node_modules", "runs", "store"
)


@dataclass(frozen=True)
class Project:
    """A copy of the project.

    Arguments:
        folder: Folder of the copy.
        environment: Environment variables of its commands.
        ports: Free port by the port that a document names.
    """

    folder: Path
    environment: dict[str, str]
    ports: dict[int, int] = field(default_factory=lambda: defaultdict(free_port))

    def at(self, port: int) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    def says(self, command: str, seconds: float = 60) -> str:
        """Returns what the command prints.

        Raises:
            AssertionError: It fails.
            TimeoutExpired: It takes longer than the seconds.
        """
        process = self._start(f"set -euo pipefail\n{command}", subprocess.PIPE)
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == 0, output[-1000:] + errors[-3000:]
        return output.strip()

    @contextmanager
    def serving(self, command: str) -> Iterator[None]:
        """While the command runs as in a terminal: from when the service is ready until Ctrl+C is pressed.

        Raises:
            AssertionError: It ended before.
            TimeoutExpired: It does not end within two minutes after.
        """
        with (self.folder / "output").open("w+") as output:
            process = self._start(command, output)
            try:
                until(lambda: process.poll() is not None or readiness(self.at(8000)) == 200, 900, every=0.5)
                output.seek(0)
                assert process.poll() is None, output.read()[-3000:]
                yield
            finally:
                _press_ctrl_c(process)

    def _start(self, command: str, output: int | IO[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - what our own documents say
            ["bash", "-c", command],  # noqa: S607
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )


def _press_ctrl_c(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def copied(folder: Path) -> Project:
    """Copies the repository to a folder; settings in the caller's environment do not apply to it."""
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    return Project(
        folder, {name: value for name, value in os.environ.items() if not name.startswith("ANYVIEW_")}
    )
