"""Polling of the store, and the memory of models that it retired."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

from service.engine.budget import trim_heap

STOP_SECONDS = 5.0
"""Longest wait at the end for a poll in progress; a store that does not answer may take longer."""
MANY_OBJECTS = 10_000
"""New objects between two searches for cycles; some dozens of requests together make a tenth of it."""


class Watcher:
    """Calls a function at equal intervals and when it is woken, in its own thread.

    Arguments:
        poll: Function to call; must not raise.
        seconds: Seconds between the end of a call and the next one; 0: only when woken.
    """

    def __init__(self, poll: Callable[[], None], seconds: float) -> None:
        self._poll = poll
        self._seconds = seconds or None
        self._woken = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def wake(self) -> None:
        """Makes the next call happen now."""
        self._woken.set()

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self.wake()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while True:
            self._woken.wait(self._seconds)
            self._woken.clear()
            if self._stopped:
                return
            self._poll()


def collect_seldom() -> None:
    """Makes Python search for cycles after many new objects; the default is 700.

    A request leaves no cycles behind, and a dozen concurrent ones make that many objects.
    """
    gc.set_threshold(MANY_OBJECTS)


def give_memory_back() -> None:
    """Frees cycles, and returns free memory to the system."""
    gc.collect()
    trim_heap()
