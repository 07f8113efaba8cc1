"""The threads in which graphs run. Knows nothing of graphs; leaves nobody waiting for a thread that died."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

log = logging.getLogger("anyview")

Task = tuple["Future[Any]", Callable[[], Any]]


T = TypeVar("T")

FEW = 20_000
"""Numbers, or bytes, that are handled in less time than it takes to go to a thread and back."""


async def aside(size: int, function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function without holding up the event loop: in a thread, unless there is little to do.

    Arguments:
        size: How many numbers or bytes it handles.
        function: What is called.
        arguments: Of it.
    """
    if size <= FEW:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


class WorkerLost(Exception):
    """What waited for a thread that died, or for threads that are stopped, will not be computed."""


class Workers(Executor):
    """A fixed number of threads.

    The pool of the standard library outlives whatever its tasks raise, and cannot tell that a thread has
    ended; this one fails what waits, and says so.

    Arguments:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = Lock()  # between "is anybody there?" and putting a task, nobody may leave
        self._stopped = False
        self._count = self._working = count
        self._threads = [Thread(target=self._work, name=f"graph-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def whole(self) -> bool:
        """Whether every thread works."""
        return not self._stopped and self._working == self._count

    @property
    def alive(self) -> bool:
        """Whether any thread works."""
        return not self._stopped and self._working > 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Runs a function in a thread.

        Raises:
            WorkerLost: There is none any more.
        """
        future: Future[Any] = Future()
        with self._lock:
            if not self.alive:
                raise WorkerLost("no thread is left that computes")
            self._tasks.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:  # noqa: ARG002
        """Finishes what runs; what only waits fails."""
        with self._lock:
            self._stopped = True
            self._fail_waiting("the service stops")
            for _ in self._threads:
                self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except Exception as error:
                future.set_exception(error)
            except BaseException as error:  # SystemExit, or whatever else ends a thread
                self._leave(error)
                future.set_exception(WorkerLost(f"the thread that computed this died: {error!r}"))
                return
            del future, call, task  # rows and answers must not stay until the next task comes

    def _leave(self, error: BaseException) -> None:
        log.critical("a thread in which graphs run died: %r", error)
        with self._lock:
            self._working -= 1
            self._fail_waiting(f"a thread in which graphs run died: {error!r}")

    def _fail_waiting(self, reason: str) -> None:
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return
            if task is not None and task[0].set_running_or_notify_cancel():
                task[0].set_exception(WorkerLost(reason))
