"""Ends the service without losing a response."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger("anyview")


@contextmanager
def delayed_sigterm(begin: Callable[[], None], seconds: float) -> Iterator[None]:
    """Delays SIGTERM for the server while the service reports that it is not ready.

    A load balancer needs some time to learn from readiness that it should send no more requests. The server
    alone would stop listening at once. A second SIGTERM ends the delay.

    Arguments:
        begin: Called at the first SIGTERM, on the event loop.
        seconds: Delay until the server receives the signal, in seconds.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield
        return
    loop = asyncio.get_running_loop()
    stop = signal.getsignal(signal.SIGTERM)
    begun = False

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        nonlocal begun
        if begun:
            end(number, frame)
        else:
            begun = True
            loop.call_soon_threadsafe(start)

    def start() -> None:
        log.info("SIGTERM: not ready any more, answering for another %g s", seconds)
        begin()
        loop.call_later(seconds, end, signal.SIGTERM, None)

    def end(number: int, frame: FrameType | None) -> None:
        if callable(stop):
            stop(number, frame)
        elif stop == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, stop)
