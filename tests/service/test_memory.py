"""What is let go is given back."""

from __future__ import annotations

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
