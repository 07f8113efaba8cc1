"""Time that each phase of a request took."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar

PHASES = ("read", "encode", "fuse", "decode", "summarise", "reply")
"""``read``: upload of the body, and its conversion to arrays; ``encode``, ``decode``: runs of graphs, and the
time that rows waited for them; ``fuse``: product of experts, and draws of z; ``summarise``: summaries of
decoded draws; ``reply``: response to bytes."""


class PhaseTimer:
    """Records when the phases of one request end; phases follow each other without a gap."""

    __slots__ = ("began", "ends", "seconds")

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.ends: list[tuple[str, float]] = []
        """Phases in their order, each with the time at which it ended."""
        self.seconds: dict[str, float] = {}
        """Seconds per phase, once :meth:`close` was called; repeated phases are summed."""

    def record(self, phase: str) -> None:
        """Ends a phase, which began when the phase before it ended."""
        self.ends.append((phase, time.perf_counter()))

    def close(self) -> None:
        """Sums the seconds of each phase."""
        last = self.began
        for phase, end in self.ends:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + end - last
            last = end


_CURRENT: ContextVar[PhaseTimer | None] = ContextVar("phase_timer", default=None)


def begin(timer: PhaseTimer) -> None:
    """Makes a timer current in this task and in the tasks that it starts."""
    _CURRENT.set(timer)


def record_phase(phase: str) -> None:
    """Ends a phase of the current request, if there is one."""
    phase_recorder()(phase)


def phase_recorder() -> Callable[[str], None]:
    """:func:`record_phase` bound to this request, for callbacks that run in another request's context."""
    timer = _CURRENT.get()
    return _ignore if timer is None else timer.record


def _ignore(phase: str) -> None:
    """Records nothing: no request is current, as in a command-line tool."""
