"""Deadlines of requests: a request ends at its deadline, or when its client disconnects."""

from __future__ import annotations

import asyncio
import math

from starlette.types import Receive

from service.errors import ClientDisconnected, NotReady, PastDeadline, TooSlow

TICK_SECONDS = 0.05
"""Interval between two checks of all deadlines; most requests end before the first."""


class Deadlines:
    """Deadlines of all current requests, checked by one timer: a timer per request costs more.

    Arguments:
        seconds: Longest that a request may take, its upload included.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.loop = asyncio.get_running_loop()
        self.last = math.inf
        """Time of the event loop's clock at which every request ends."""
        self._running: dict[RequestDeadline, None] = {}
        self._ticking = False

    def limit(self, receive: Receive) -> RequestDeadline:
        """Returns the deadline of the current request, a context manager.

        Arguments:
            receive: ASGI callable of the request; after the body it yields nothing but the disconnect.
        """
        return RequestDeadline(self, receive)

    def end_within(self, seconds: float) -> float:
        """Ends requests that take longer than this from now on, those to come included: the service stops.

        Returns:
            The seconds until then: fewer where a call before has named an earlier time.
        """
        now = self.loop.time()
        self.last = min(self.last, now + seconds)
        return max(0.0, self.last - now)

    def add(self, deadline: RequestDeadline) -> None:
        """Checks this deadline from now on."""
        self._running[deadline] = None
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(TICK_SECONDS, self._tick)

    def remove(self, deadline: RequestDeadline) -> None:
        """No longer checks this deadline."""
        del self._running[deadline]

    def _tick(self) -> None:
        for deadline in self._running:
            deadline.check(self.loop.time())
        self._ticking = bool(self._running)
        if self._ticking:
            self.loop.call_later(TICK_SECONDS, self._tick)


class RequestDeadline:
    """Cancels the ``with`` block of the current task at its deadline, or when the client disconnects.

    Arguments:
        deadlines: Timer that checks this deadline.
        receive: ASGI callable of the request.

    Raises:
        TooSlow: The body was not complete at the deadline.
        PastDeadline: There was no result at the deadline.
        ClientDisconnected: The client disconnected.
        NotReady: The service stops.
    """

    def __init__(self, deadlines: Deadlines, receive: Receive) -> None:
        self._deadlines = deadlines
        self._receive = receive
        self._deadline = deadlines.loop.time() + deadlines.seconds
        self._task = asyncio.current_task(deadlines.loop)
        self.uploaded = False
        """Whether the body is complete."""
        self._reason: Exception | None = None
        self._watch: asyncio.Task[None] | None = None

    def __enter__(self) -> RequestDeadline:
        self._deadlines.add(self)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._deadlines.remove(self)
        reason = self.close()
        if reason is not None and isinstance(error, asyncio.CancelledError):
            raise reason from None

    def check(self, now: float) -> None:
        """End a request past its deadline; start to watch the client of one that has taken a while.

        Arguments:
            now: Time of the event loop's clock, in seconds.
        """
        if now >= self._deadline:
            self._end(self._past())
        elif now >= self._deadlines.last:
            self._end(NotReady("the service stops, and had no answer yet; send the request again"))
        elif self.uploaded and self._watch is None:
            self._watch = asyncio.create_task(self._wait_for_disconnect())

    def close(self) -> Exception | None:
        """Stop watching; return the reason if this deadline alone cancelled the task, the first time."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None  # breaks a reference cycle, which would wait for the garbage collector
        reason, self._reason = self._reason, None
        if reason is None or self._task is None:
            return None
        # A count above 0: the task was also cancelled by another caller.
        return reason if self._task.uncancel() == 0 else None

    def _end(self, reason: Exception) -> None:
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel()

    def _past(self) -> Exception:
        seconds = self._deadlines.seconds
        if self.uploaded:
            return PastDeadline(f"no answer within the {seconds:g} s that a request may take")
        return TooSlow(f"the body was not complete within the {seconds:g} s that a request may take")

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end(ClientDisconnected("the client disconnected before it had its answer"))
