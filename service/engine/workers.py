"""Threads in which graphs run, and the choice between a thread and the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

from service.errors import NotReady

T = TypeVar("T")
Task = tuple["Future[Any]", Callable[[], Any]]

FEW = 20_000
"""Numbers, or bytes, that are handled in less time than the way to a thread and back takes."""
COPIED = 32
"""Numbers that are copied as bytes in the time in which one is read from text, or written as text."""


async def aside(size: int, function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function without blocking the event loop: in a thread, unless there is little to do.

    Arguments:
        size: Numbers or bytes that it handles.
        function: Function to call.
        arguments: Its arguments.
    """
    if size <= FEW:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


class Workers(Executor):
    """A fixed number of daemon threads.

    ``ThreadPoolExecutor`` joins its threads when the interpreter exits, so a graph that hangs would keep the
    process alive after SIGTERM.

    Arguments:
        count: Number of threads.
        name: Name of the threads.
    """

    def __init__(self, count: int, name: str = "graph") -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = Lock()  # no task is queued behind the last one
        self._stopped = False
        self._threads = [Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queues a call.

        Raises:
            NotReady: The threads are stopped.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._stopped:
                raise NotReady("the service stops")
            self._tasks.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:  # noqa: ARG002
        """Finishes the running tasks; waiting ones fail with ``NotReady``."""
        with self._lock:
            self._stopped = True
            self._fail_waiting()
            for _ in self._threads:
                self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, call = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            del future, call, task  # rows and outputs must not stay until the next task comes

    def _fail_waiting(self) -> None:
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return
            if task is not None and task[0].set_running_or_notify_cancel():
                task[0].set_exception(NotReady("the service stops"))
