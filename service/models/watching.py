"""Polling of the store, and the memory of models that it retired."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable

STOP_SECONDS = 5.0
"""Longest wait at the end for a poll in progress; a store that does not answer may take longer."""
MANY_OBJECTS = 10_000
"""New objects between two searches for cycles; some dozens of requests together make a tenth of it."""


class Watcher:
    """Calls a function at equal intervals, in its own thread.

    Arguments:
        poll: Function to call; must not raise.
        seconds: Seconds between the end of a call and the next one; 0: never.
    """

    def __init__(self, poll: Callable[[], None], seconds: float) -> None:
        self._poll = poll
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def __enter__(self) -> Watcher:
        if self._seconds:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self._poll()


def collect_seldom() -> None:
    """Makes Python search for cycles after many new objects; the default is 700.

    A request leaves no cycles behind, and a dozen concurrent ones make that many objects.
    """
    gc.set_threshold(MANY_OBJECTS)


def give_memory_back() -> None:
    """Frees cycles, and returns the C library's free memory to the system, which glibc does not do itself."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
