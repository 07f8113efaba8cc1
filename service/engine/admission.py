"""Admission of long computations: scores, and summaries in several pieces.

Each is done in steps of a fraction of a second, in threads that only such steps use: short requests do not
wait for them, and after a client leaves one step ends at most. The time that is left of each is estimated
from its own speed, and the sum is bounded, so that requests that are admitted end before their deadline.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from service.errors import TooBusy, WrongInput

T = TypeVar("T")

SHARE_ALONE, SHARE_TOGETHER = 0.8, 0.5
"""Parts of the deadline: of processor time that one computation may take, and that all may have left."""
SHARE_JUDGED = 1 / 30
"""Part of the deadline after which the speed of a computation is known well enough to refuse it."""
SHARE_ENDED = 0.9
"""Part of the deadline after which a computation ends that had too little of the processor."""


class Admission:
    """Admits the long computations of a process; used on the event loop alone.

    Arguments:
        executor: Threads in which steps run, first come, first served; None: those of the event loop.
        seconds: Deadline of a request; infinite: nothing is refused.
        clock: Processor time of the current thread, in seconds.
        now: Time, in seconds.
    """

    def __init__(
        self,
        executor: Executor | None = None,
        seconds: float = math.inf,
        clock: Callable[[], float] = time.thread_time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.executor, self.seconds, self.clock, self.now = executor, seconds, clock, now
        self.current: set[Computation] = set()
        self.rates: dict[str, float] = {}
        """Seconds per unit of work of the latest computation, by kind."""

    def computation(self, kind: str, amount: float, less: str) -> Computation:
        """Returns a computation, a context manager.

        Arguments:
            kind: Kind of the work; one unit of a kind takes roughly the same time.
            amount: Units of work.
            less: Names of the parameters that reduce it.
        """
        return Computation(self, kind, amount, less)


class Computation:
    """One long computation.

    Raises:
        TooBusy: On entry, or once its speed is known: others would keep it waiting past its deadline. Later:
            the processor did less than expected, since other work shares it.
    """

    def __init__(self, admission: Admission, kind: str, amount: float, less: str) -> None:
        self._admission, self._kind, self._amount, self._less = admission, kind, amount, less
        self._spent, self._done, self._start = 0.0, 0.0, admission.now()
        self.left = amount * admission.rates.get(kind, 0.0)
        """Estimated seconds of processor time that are left."""

    def __enter__(self) -> Computation:
        self._check_others()
        self._admission.current.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.current.discard(self)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Calls a function in a thread once the steps before it have run.

        Raises:
            TooBusy: The deadline is near.
        """
        if (passed := self._admission.now() - self._start) > SHARE_ENDED * self._admission.seconds:
            raise TooBusy(
                f"the processor is busy: {self._done / self._amount:.0%} of the request were done in "
                f"{passed:.0f} s; ask again, with fewer rows, or for less: {self._less}",
                math.ceil(self.left),
            )
        clock = self._admission.clock

        def step() -> tuple[float, T]:
            start = clock()
            result = function(*arguments)
            return clock() - start, result

        seconds, result = await asyncio.get_running_loop().run_in_executor(self._admission.executor, step)
        self._spent += seconds
        return result

    def add(self, seconds: float) -> None:
        """Adds processor time that was spent elsewhere, such as in graphs."""
        self._spent += seconds

    def advance(self, amount: float) -> None:
        """Notes that so many units are done.

        Raises:
            WrongInput: It would take longer than one request may; the text says how long.
            TooBusy: After the first units: as on entry.
        """
        first, self._done = not self._done, self._done + amount
        rate = self._admission.rates[self._kind] = self._spent / self._done
        self.left = rate * max(0.0, self._amount - self._done)
        total, most = self._spent + self.left, SHARE_ALONE * self._admission.seconds
        if self._spent > SHARE_JUDGED * self._admission.seconds and total > most:
            raise WrongInput(
                f"the request takes about {total:.0f} s of processor time, more than the {most:g} s that one "
                f"may take; send fewer rows, or ask for less: {self._less}"
            )
        if first:
            self._check_others()

    def _check_others(self) -> None:
        others = sum(one.left for one in self._admission.current if one is not self)
        if others and others + self.left > SHARE_TOGETHER * self._admission.seconds:
            seconds = math.ceil(others)
            raise TooBusy(
                f"other requests need about {seconds} s of processor time, and this one {self.left:.0f} s; "
                f"ask again in {seconds} s",
                seconds,
            )
