"""Looks at the store from time to time."""

from __future__ import annotations

import threading
from collections.abc import Callable

STOP_SECONDS = 5.0
"""How long to wait at the end for a look that has begun; a store that does not answer may take longer."""


class Watcher:
    """Calls a function at equal distances, in a thread of its own.

    Arguments:
        look: What is called; must not raise.
        seconds: Between the end of a call and the next one; 0: never.
    """

    def __init__(self, look: Callable[[], None], seconds: float) -> None:
        self._look = look
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
            self._look()
