"""One request as it is told of afterwards: which it was, and how long each phase of it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

PHASES = ("read", "encode", "fuse", "decode", "summarise", "reply")
"""``read``: the body to arrays, the upload included; ``encode``, ``decode``: graphs, and the time that rows
waited for them; ``fuse``: the product of experts, and draws of z; ``summarise``: what is made of decoded
draws; ``reply``: the answer to bytes."""


class Exchange:
    """A request and its answer.

    Arguments:
        request_id: By which log, trace and answer name it.
    """

    __slots__ = (
        "began",
        "laps",
        "modalities",
        "model",
        "operation",
        "request_id",
        "rows",
        "span",
        "spent",
        "status",
        "trace_id",
    )

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.trace_id = ""
        self.span: Any = None
        """Of the trace, where one is made."""
        self.began = time.perf_counter()
        self.operation = ""
        """The operation id; empty until it is known, and where no such path exists."""
        self.model = ""
        """Of a loaded model, never just what was sent: it becomes a label."""
        self.modalities = 0
        self.rows = 0
        self.status = 0
        """Of the answer; 0 where there is none."""
        self.spent: dict[str, float] = {}
        """Seconds by phase, once there is an answer; a phase that came several times is summed."""
        self.laps: list[tuple[str, float]] = []
        """Phases in their order, each with the time at which it ended."""

    def lap(self, phase: str) -> None:
        """Says that what happened since the last call was this phase."""
        self.laps.append((phase, time.perf_counter()))

    def read(self, model: str, rows: int, modalities: int) -> None:
        """The body is read, and was for this model."""
        self.model, self.rows, self.modalities = model, rows, modalities
        self.lap("read")

    def answer(self, status: int) -> None:
        """The answer is made, and about to be sent: all phases are over."""
        self.status = status
        if self.laps:
            self.lap("reply")
        last = self.began
        for phase, end in self.laps:
            self.spent[phase] = self.spent.get(phase, 0.0) + end - last
            last = end


_CURRENT: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def begin(exchange: Exchange) -> None:
    """Makes it the one that :func:`lap` means, in this task and those that it starts."""
    _CURRENT.set(exchange)


def lap(phase: str) -> None:
    """:meth:`Exchange.lap` of the request at hand, where there is one."""
    stopwatch()(phase)


def stopwatch() -> Callable[[str], None]:
    """:func:`lap` of the request at hand, for what is called back in the turn of another."""
    exchange = _CURRENT.get()
    return _nobody if exchange is None else exchange.lap


def _nobody(phase: str) -> None:
    """No request, no time."""
