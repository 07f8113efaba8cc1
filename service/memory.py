"""What is kept of the memory of answered questions, and what is given back when a model is let go."""

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
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As <malloc.h> of glibc numbers them."""
KEPT_BYTES, LARGEST_BYTES = 32 * 2**20, 8 * 2**20


def keep_freed() -> None:
    """Lets the C library keep what arrays leave behind, up to 32 MiB; others than glibc decide by themselves.

    It would give arrays from 128 KiB on back at once, and the system would clear every page of the next: to
    divide a few hundred pictures by 255 then takes ten times as long.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


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
