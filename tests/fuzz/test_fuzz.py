"""A short run of random requests; ``make fuzz`` sends as many as one likes."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.run import fuzz, report


def test_random_requests_break_no_promise(bundle_folder: Path) -> None:
    """No 5xx, no lost connection, no traceback in the log, and memory and file descriptors as before."""
    result = fuzz(bundle_folder.parents[1], seed=1, requests=300, warm_up=150)
    assert result.faults == [], report(result)
    assert result.counts.total() == 300
