"""Time that each phase of a request took."""

from __future__ import annotations

import time
from contextvars import ContextVar

PHASES = ("read", "encode", "fuse", "decode", "summarise", "reply")
"""``read``: upload of the body, and its conversion to arrays; ``encode``, ``decode``: runs of graphs, and the
time that rows waited for them; ``fuse``: product of experts, and draws of z; ``summarise``: summaries of
decoded draws; ``reply``: response to bytes."""


class PhaseTimer:
    """Records when the phases of one request end; phases follow each other without a gap."""

    __slots__ = ("began", "ends", "seconds", "total")

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.ends: list[tuple[str, float]] = []
        """Phases in their order, each with the time at which it ended."""
        self.seconds: dict[str, float] = {}
        """Seconds per phase, once :meth:`finish` was called; repeated phases are summed."""
        self.total = 0.0
        """Seconds of all phases, or since the request began where there are none."""

    def record(self, phase: str) -> None:
        """Ends a phase, which began when the phase before it ended."""
        self.ends.append((phase, time.perf_counter()))

    def finish(self) -> None:
        """Ends the last phase, the reply to a request that was read, and sums the seconds of each phase."""
        last, now, seconds = self.began, time.perf_counter(), self.seconds
        if self.ends:
            self.ends.append(("reply", now))
        for phase, end in self.ends:
            seconds[phase] = seconds.get(phase, 0.0) + end - last
            last = end
        self.total = now - self.began


class _Unrecorded(PhaseTimer):
    """Records nothing: no request is current, as in a command-line tool."""

    def record(self, phase: str) -> None:
        pass


_UNRECORDED = _Unrecorded()
CURRENT: ContextVar[PhaseTimer] = ContextVar("phase_timer", default=_UNRECORDED)
"""Timer of the current request, in its task and in the tasks that it starts."""
