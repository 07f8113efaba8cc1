"""Groups calls that arrive close together, so that the engine batches them."""

from __future__ import annotations

import asyncio

QUIET_ITERATIONS = 10
"""Event-loop iterations without a further call after which a wave continues; with 1 or 4 of them, calls of 16
connections were answered one by one, with 10 twelve at a time, with 30 no more."""
SINGLE_WAVES = 8
"""Waves of one call after which a call that is alone does not wait."""


class Waves:
    """Lets calls that arrive in neighbouring event-loop iterations continue in the same one.

    grpc.aio accepts and reads one call in several iterations, however many have arrived, while the engine
    batches the rows of one iteration. The context manager counts the calls that are not yet answered.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._quiet = 0
        self._single = 0

    def __enter__(self) -> None:
        self._calls += 1

    def __exit__(self, *_exception: object) -> None:
        self._calls -= 1

    async def join(self) -> None:
        """Waits until no further call has joined for some iterations, unless its client is alone."""
        if self._calls <= 1 and self._single >= SINGLE_WAVES:
            return
        loop = asyncio.get_running_loop()
        release: asyncio.Future[None] = loop.create_future()
        self._waiting.append(release)
        self._quiet = 0
        if len(self._waiting) == 1:
            loop.call_soon(self._look, loop)
        await release

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._quiet += 1
        if self._quiet < QUIET_ITERATIONS:
            loop.call_soon(self._look, loop)
            return
        waiting, self._waiting = self._waiting, []
        self._single = self._single + 1 if len(waiting) == 1 else 0
        for release in waiting:
            if not release.done():
                release.set_result(None)
