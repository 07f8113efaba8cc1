"""When memory is looked through for what nobody needs, and given back to the system."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
import weakref
from collections.abc import Sequence

LONGEST_SECONDS = 600.0
"""No question holds a model for longer; settings allow no more by default."""
PATIENCE_SECONDS = 0.5
MANY_OBJECTS = 10_000
"""What some dozens of questions together are made of is a tenth of it."""


def collect_seldom() -> None:
    """Has Python look for cycles once there are many new objects; by default 700 of them are enough.

    A question leaves no cycles behind, and a dozen that are answered at once are made of that many objects.
    """
    gc.set_threshold(MANY_OBJECTS)


def give_back_when_gone(retired: Sequence[object]) -> None:
    """Waits, in a thread of its own, until nobody holds these any more; then gives back what they took.

    Questions that have begun hold the model that answers them, so nothing can be freed at once.

    Arguments:
        retired: What was let go.
    """
    references = [weakref.ref(one) for one in retired]
    if references:
        threading.Thread(target=_wait, args=(references,), name="memory", daemon=True).start()


def _wait(references: list[weakref.ref[object]]) -> None:
    end = time.monotonic() + LONGEST_SECONDS
    pause = 0.02
    while any(reference() is not None for reference in references) and time.monotonic() < end:
        time.sleep(pause)
        if pause > PATIENCE_SECONDS:
            gc.collect()  # an exception that was told to a client may be part of a cycle
        pause = min(2 * pause, 10.0)
    gc.collect()
    _trim()


def _trim() -> None:
    """Asks the C library to return what it holds for later; others than glibc do so by themselves."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
