"""Memory that requests may take: each is priced before it is worked on, and the sum is bounded.

A request takes bytes as its price becomes known: for its body, for what the body decodes to, for its numbers.
It gives them back when its task ends, which is when the response is written. docs/settings.md has the prices.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar

from service.errors import TooBusy, TooLarge

T = TypeVar("T")

DEFAULT_BYTES = 2**30
SHARE = 2
"""One request may take the total divided by this."""
SMALL = 2**18
"""Bytes that are not counted: most requests take less, and connections are bounded."""
TRIM_BYTES = 2**26
"""Bytes that requests give back before the heap is trimmed, which takes some milliseconds."""
M_MMAP_THRESHOLD, MAPPED_BYTES = -3, 2**24
"""Parameter of mallopt(3), and the least bytes of a block outside of the heaps."""
WAIT_SECONDS = 1.0
"""Longest wait for memory that other requests give back."""
BYTES_OF_NUMBER = 48
"""Bytes of one number of a response: float32, and twice up to 22 as JSON, whose pieces are joined."""
BYTES_OF_CHARACTER = 12
"""Bytes of one character of a response: 4 in an array, 4 in a string, and twice 2 or more in the response."""


class Stopped(Exception):
    """The request of a thread's work is gone."""


class Costly(Exception):
    """The work takes too long for the event loop; a thread must do it."""


def default_bytes(workers: int, groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns 1 GiB, or half of the control group's memory divided by the processes where that is less."""
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return max(2**24, min(DEFAULT_BYTES, int((groups / file).read_text()) // 2 // workers))
        except (OSError, ValueError):  # another version, no control group, or "max": no limit
            continue
    return DEFAULT_BYTES


def keep_large_blocks_apart() -> None:
    """Makes glibc give each block of ``MAPPED_BYTES`` back to the system when it is freed.

    By default the limit rises to 32 MiB with the blocks that are freed; the heaps then fragment and grow.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)


def trim_heap() -> None:
    """Returns free memory to the system, which glibc keeps where other blocks lie behind it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Budget:
    """Bytes that the requests of one process may take together; used on the event loop alone.

    Arguments:
        total: Bytes of all requests; None: no limit.
        trim: Called in a thread after requests that took much memory.
        executor: Threads in which bodies and responses are converted, which hold the interpreter's lock for
            most of the time: few, so that the event loop gets it soon. None: those of the event loop.
    """

    def __init__(
        self,
        total: int | None = None,
        trim: Callable[[], None] = trim_heap,
        executor: Executor | None = None,
    ) -> None:
        self.executor = executor
        self.one_large = asyncio.Lock()
        """Held while a large body is converted: a step of it holds the interpreter's lock for up to 0.1 s."""
        self.total = math.inf if total is None else total
        self.share = self.total if total is None else total // SHARE
        self.taken = 0
        self._trim = trim
        self._untrimmed = 0  # bytes given back since the heap was trimmed
        self._by_task: dict[asyncio.Task[Any], int] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, size: int, task: asyncio.Task[Any] | None = None) -> None:
        """Takes bytes until the task ends; waits briefly where others hold them.

        Arguments:
            size: Bytes.
            task: Task of the request; None: the current one.

        Raises:
            TooLarge: The request would have more than its share.
            TooBusy: Other requests hold the memory.
        """
        task = task or asyncio.current_task()
        if self.total == math.inf or task is None:
            return
        needed = self._by_task.get(task, 0) + size
        if needed > self.share:
            raise TooLarge(
                f"the request needs {needed} bytes of memory, more than the {self.share} that one may have; "
                "send less at a time, or ask for less"
            )
        end = asyncio.get_running_loop().time() + WAIT_SECONDS
        while self.taken + size > self.total:
            await self._wait(end, size)
        if task not in self._by_task:
            task.add_done_callback(self._give_back)
        self._by_task[task] = self._by_task.get(task, 0) + size
        self.taken += size

    async def _wait(self, end: float, size: int) -> None:
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(freed)
        try:
            async with asyncio.timeout_at(end):
                await freed
        except TimeoutError:
            raise TooBusy(
                f"other requests hold the memory: this one needs {size} bytes of {self.total}, "
                f"and {self.taken} are taken; ask again in 1 s",
                1,
            ) from None
        finally:
            if freed in self._waiting:
                self._waiting.remove(freed)

    def _give_back(self, task: asyncio.Task[Any]) -> None:
        size = self._by_task.pop(task)
        self.taken -= size
        self._untrimmed += size
        if self._untrimmed >= TRIM_BYTES and not self._by_task:
            self._untrimmed = 0
            asyncio.get_running_loop().run_in_executor(None, self._trim)
        while self._waiting:
            freed = self._waiting.popleft()
            if not freed.done():
                freed.set_result(None)


class Allowance:
    """Lets work in a thread take memory for its request, and end when the request does.

    Arguments:
        budget: Budget of the process.
    """

    def __init__(self, budget: Budget) -> None:
        self.stopped = False
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()

    def take(self, size: int) -> None:
        """Takes bytes; blocks the thread while others hold them.

        Raises:
            TooLarge, TooBusy: As for :meth:`Budget.take`.
            Stopped: The request is gone.
        """
        self.check()
        if size > SMALL:
            asyncio.run_coroutine_threadsafe(self._budget.take(size, self._task), self._loop).result()

    def check(self) -> None:
        """Checks between two steps that the request is still there.

        Raises:
            Stopped: It is gone.
        """
        if self.stopped:
            raise Stopped


async def in_thread(budget: Budget, function: Callable[[Allowance], T]) -> T:
    """Calls a function in a thread; where the caller is cancelled, waits for the function's next check.

    Arguments:
        budget: Budget of the process.
        function: Function of the allowance of this request.
    """
    allowance = Allowance(budget)
    loop = asyncio.get_running_loop()

    def unless_gone() -> T:
        allowance.check()  # it may have waited for its thread
        return function(allowance)

    work = loop.run_in_executor(budget.executor, copy_context().run, unless_gone)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        allowance.stopped = True
        await asyncio.wait([work])  # its memory counts until it ends
        if not work.cancelled():
            work.exception()
        raise
    finally:
        del work  # its exception refers to this frame, and both would wait for the garbage collector
