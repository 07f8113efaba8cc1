"""The program that forks is used as Python is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forking
from tests.service.running import until

PROGRAMS = [None, "training", "trials"]
"""Python, and what a process that is forked has imported."""
TOLD = """
import os, sys
print(sys.argv[1:], sys.stdin.read(), os.environ["GIVEN"], os.getcwd())
print("to the other stream", file=sys.stderr)
sys.exit(3)
"""


def begin(prepared: str | None, *arguments: str, folder: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 - our own program
        [str(forking.python(prepared)) if prepared else sys.executable, *arguments],
        env={**os.environ, "GIVEN": "value"},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        cwd=folder,
    )


@pytest.mark.parametrize("prepared", PROGRAMS)
def test_streams_environment_folder_and_status_are_those_of_the_caller(
    prepared: str | None, tmp_path: Path
) -> None:
    process = begin(prepared, "-c", TOLD, "one", "two", folder=tmp_path)
    printed, errors = process.communicate("input")
    assert printed == f"['one', 'two'] input value {tmp_path.resolve()}\n"
    assert errors == "to the other stream\n"
    assert process.returncode == 3


@pytest.mark.parametrize("prepared", PROGRAMS)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_process(prepared: str | None, sent: signal.Signals, tmp_path: Path) -> None:
    code = "import os, signal\nprint(os.getpid(), flush=True)\nsignal.pause()"
    process = begin(prepared, "-c", code, folder=tmp_path)
    assert process.stdout
    number = int(process.stdout.readline())
    process.send_signal(sent)
    assert process.stdout.read() == ""  # closed by the process that prints, when it has ended
    assert process.wait() == -sent
    process.communicate()
    until(lambda: not Path(f"/proc/{number}").exists())


ENDS = {
    "print('said')": (0, "said\n", ""),
    "raise SystemExit('why')": (1, "", "why\n"),
    "raise SystemExit(300)": (300 & 255, "", ""),
    "import atexit; atexit.register(print, 'last')": (0, "last\n", ""),
    "from threading import Timer; Timer(0, print, ['late']).start()": (0, "late\n", ""),
    "raise KeyboardInterrupt": (-signal.SIGINT, "", "KeyboardInterrupt\n"),
    "raise ValueError('wrong')": (1, "", "ValueError: wrong\n"),
}


@pytest.mark.parametrize("prepared", PROGRAMS)
def test_a_program_ends_as_in_python(prepared: str | None, tmp_path: Path) -> None:
    running = [(begin(prepared, "-c", code, folder=tmp_path), end) for code, end in ENDS.items()]
    for process, (status, printed, error) in running:
        output, errors = process.communicate()
        assert (output, process.returncode) == (printed, status)
        assert errors.endswith(error)
