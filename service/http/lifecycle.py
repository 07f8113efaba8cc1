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
def delayed_sigterm(
    begin: Callable[[], None], seconds: float, finish: Callable[[], object]
) -> Iterator[None]:
    """Delays SIGTERM for the server while the service reports that it is not ready.

    A load balancer needs some time to learn from readiness that it should send no more requests. The server
    alone would stop listening at once. A second SIGTERM ends the delay, and SIGINT has none.

    Arguments:
        begin: Called at the first SIGTERM, on the event loop.
        seconds: Delay until the server receives the signal, in seconds.
        finish: Called when the server receives a signal, on the event loop.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield
        return
    loop = asyncio.get_running_loop()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
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
        loop.call_soon_threadsafe(finish)
        handler = handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, on_sigterm)
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
