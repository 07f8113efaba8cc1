"""Repeats requests that a busy or starting service has refused."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

REPEATED = (429, 503)
"""Statuses of a request that was not carried out, and may be soon."""
UNANSWERED = (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError)
"""No connection could be made, or it closed before the end of a response, as when a balancer reloads, or was
reset, as when a process is killed. Requests to models change nothing: they may be repeated (RFC 9110, section
9.2.2)."""


@dataclass(frozen=True)
class Retries:
    """Bounds of repeated requests.

    A request is repeated after status 429 and 503, and after the errors of ``UNANSWERED``.

    Arguments:
        attempts: Most times that a request is sent.
        longest: Longest wait between two of them, in seconds. A service that asks for a longer wait
            (``Retry-After``) is not asked again.
        first: Wait after the first attempt where the service names none; each further one is twice as long.
    """

    attempts: int = 4
    longest: float = 30.0
    first: float = 0.25

    def wait(self, attempt: int, response: httpx.Response | None) -> float | None:
        """Seconds to wait before the next attempt; None: there is no further one.

        Arguments:
            attempt: Number of attempts so far.
            response: The last response; None: there was none.
        """
        if attempt >= self.attempts or (response is not None and response.status_code not in REPEATED):
            return None
        seconds = None if response is None else seconds_of(response.headers.get("retry-after"))
        if seconds is not None:
            return seconds if seconds <= self.longest else None
        # Clients that were refused together must not come back together.
        return min(self.longest, self.first * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311


def seconds_of(retry_after: str | None) -> float | None:
    """Seconds from now that ``Retry-After`` names, as a number or a date; None where it has neither."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
