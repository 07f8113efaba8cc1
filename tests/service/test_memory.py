"""What is let go is given back."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from benchmarks import bundle
from service import memory
from tests.service.running import until


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_unloading_a_model_gives_its_memory_back(tmp_path: Path) -> None:
    bundle.publish(tmp_path, [f"view{n}" for n in range(8)])  # 23 MB of graphs
    command = [sys.executable, "-m", "tests.service.run_unloading", str(tmp_path), bundle.NAME]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own
    before, between, after = map(int, done.stdout.split())
    assert between - before > 20_000_000
    assert after - before < (between - before) / 3


def test_memory_is_given_back_only_when_nobody_holds_the_model_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as a question that had begun."""

    class Held: ...

    held = Held()
    gone = weakref.ref(held)
    given: list[bool] = []
    monkeypatch.setattr(memory, "_trim", lambda: given.append(gone() is None))
    memory.give_back_when_gone([held])
    assert not given
    del held
    until(lambda: given)
    assert given == [True]


FAULTS = """
import resource, sys
import numpy as np
from service import memory
if sys.argv[1] == "kept":
    memory.keep_freed()
def answer():
    x = np.ones((256, 28, 28), np.float32)
    return (x / 255).sum()
for _ in range(3):
    answer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    answer()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_what_arrays_leave_behind_is_used_again() -> None:
    """Without it every answer has its pages cleared anew: 200 for 784 KiB."""
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)  # noqa: S603
        for how in ("kept", "given back")
    )
    assert kept < 50 < given_back
