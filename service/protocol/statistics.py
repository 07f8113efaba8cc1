"""How many inferences a version has answered, and how long their parts took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


@dataclass
class Statistics:
    """Of one version, since it was loaded.

    Only the event loop writes, so nothing needs a lock.
    """

    rows: int = 0
    last_milliseconds: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    nanoseconds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))

    def answered(self, rows: int, times: tuple[int, int, int, int]) -> None:
        """Counts an inference.

        Arguments:
            rows: That it had.
            times: When it came, was read, was computed and was written, in nanoseconds.
        """
        came, read, computed, written = times
        self.rows += rows
        self.last_milliseconds = time.time_ns() // 1_000_000
        for phase, taken in (
            ("success", written - came),
            ("queue", 0),
            ("compute_input", read - came),
            ("compute_infer", computed - read),
            ("compute_output", written - computed),
        ):
            self.counts[phase] += 1
            self.nanoseconds[phase] += taken

    def failed(self, taken: int) -> None:
        self.counts["fail"] += 1
        self.nanoseconds["fail"] += taken

    def told(self, name: str, number: int, batches: int) -> dict[str, Any]:
        """As the statistics extension writes it.

        Arguments:
            name: Of the model.
            number: Of the version.
            batches: That its graphs have run.
        """
        durations = {p: {"count": self.counts[p], "ns": self.nanoseconds[p]} for p in PHASES}
        nothing = {"count": 0, "ns": 0}
        return {
            "name": name,
            "version": str(number),
            "last_inference": self.last_milliseconds,
            "inference_count": self.rows,
            "execution_count": batches,
            "inference_stats": {**durations, "cache_hit": nothing, "cache_miss": nothing},
            "response_stats": {},
            "batch_stats": [],
            "memory_usage": [],
        }
