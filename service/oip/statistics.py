"""Statistics of the inferences of one version: counts, and durations of their parts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Statistics:
    """Counts and durations since the version was loaded; durations in nanoseconds.

    Only the event loop writes them, so they need no lock.
    """

    rows: int = 0
    last_milliseconds: int = 0
    answers: int = 0
    reading: int = 0
    computing: int = 0
    writing: int = 0
    failures: int = 0
    failing: int = 0

    def answered(self, rows: int, times: tuple[int, int, int, int]) -> None:
        """Counts an inference.

        Arguments:
            rows: Rows of the request.
            times: Times at which it came, was read, was computed and was written, in nanoseconds.
        """
        came, read, computed, written = times
        self.rows += rows
        self.last_milliseconds = time.time_ns() // 1_000_000
        self.answers += 1
        self.reading += read - came
        self.computing += computed - read
        self.writing += written - computed

    def failed(self, taken: int) -> None:
        self.failures += 1
        self.failing += taken

    def to_json(self, name: str, number: int, batches: int) -> dict[str, Any]:
        """Returns the object that the statistics extension defines.

        Arguments:
            name: Name of the model.
            number: Number of the version.
            batches: Batches that its graphs have run.
        """
        whole = self.reading + self.computing + self.writing
        durations = {
            "success": (self.answers, whole),
            "fail": (self.failures, self.failing),
            "queue": (self.answers, 0),  # rows wait within compute_infer
            "cache_hit": (0, 0),
            "cache_miss": (0, 0),
            "compute_input": (self.answers, self.reading),
            "compute_infer": (self.answers, self.computing),
            "compute_output": (self.answers, self.writing),
        }
        return {
            "name": name,
            "version": str(number),
            "last_inference": self.last_milliseconds,
            "inference_count": self.rows,
            "execution_count": batches,
            "inference_stats": {phase: {"count": n, "ns": ns} for phase, (n, ns) in durations.items()},
            "response_stats": {},
            "batch_stats": [],
            "memory_usage": [],
        }
