"""Until when a question may take: to its deadline, or until its client hangs up."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive

from service.errors import ClientLeft, PastDeadline, TooSlow

TICK_SECONDS = 0.05
"""Between two looks at who is past the deadline; most questions are answered before the first."""


class Lifetimes:
    """All questions that are being answered, behind one timer, since a timer each costs more than a look.

    Arguments:
        seconds: That each may take, its upload included.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.loop = asyncio.get_running_loop()
        self._living: dict[Lifetime, None] = {}
        self._ticking = False

    def begin(self, receive: Receive) -> Lifetime:
        """The lifetime of a question, to be entered with ``with``."""
        return Lifetime(self, receive)

    def add(self, lifetime: Lifetime) -> None:
        self._living[lifetime] = None
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(TICK_SECONDS, self._tick)

    def remove(self, lifetime: Lifetime) -> None:
        del self._living[lifetime]

    def _tick(self) -> None:
        for lifetime in self._living:
            lifetime.look(self.loop.time())
        self._ticking = bool(self._living)
        if self._ticking:
            self.loop.call_later(TICK_SECONDS, self._tick)


class Lifetime:
    """Cancels what happens inside at the deadline, or when the client hangs up, and says which it was.

    Arguments:
        lifetimes: Where it is looked after.
        receive: Of the client; once the body is complete, all that it can still say is that it has left.
    """

    def __init__(self, lifetimes: Lifetimes, receive: Receive) -> None:
        self._lifetimes = lifetimes
        self._receive = receive
        self._uploaded = False
        self._reason: Exception | None = None
        self._watch: asyncio.Task[None] | None = None

    def uploaded(self) -> None:
        """The body is complete."""
        self._uploaded = True

    def look(self, now: float) -> None:
        """Ends what is past its deadline; begins to watch the client of what has taken a while."""
        if now >= self._deadline:
            self._end(self._past())
        elif self._uploaded and self._watch is None:
            self._watch = asyncio.create_task(self._watching())

    def __enter__(self) -> Lifetime:
        self._deadline = self._lifetimes.loop.time() + self._lifetimes.seconds
        self._task = asyncio.current_task(self._lifetimes.loop)
        self._lifetimes.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self._lifetimes.remove(self)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None  # its error knows this lifetime: together they would wait for the collector
        if self._reason is None or self._task is None:
            return
        if self._task.uncancel() == 0 and kind is asyncio.CancelledError:  # else it was not for this alone
            raise self._reason from None

    def _end(self, reason: Exception) -> None:
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel()

    def _past(self) -> Exception:
        seconds = self._lifetimes.seconds
        if self._uploaded:
            return PastDeadline(f"no answer within the {seconds:g} s that a question may take")
        return TooSlow(f"the body was not complete within the {seconds:g} s that a question may take")

    async def _watching(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end(ClientLeft("the client hung up before it had its answer"))
