"""Errors that the service reports (RFC 9457)."""

from __future__ import annotations

import httpx


class ServiceError(Exception):
    """An error response of the service.

    Arguments:
        status: HTTP status.
        title: Name of the status.
        detail: What was sent, what is accepted, and where.
        request_id: Id of the request in the log of the service; None where a proxy answered.
        type: Kind of the error, such as ``urn:anyview:wrong-input``.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        request_id: str | None = None,
        type: str = "about:blank",  # noqa: A002 - the name of RFC 9457
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.type = type

    @classmethod
    def of(cls, response: httpx.Response) -> ServiceError:
        """Reads a problem document (RFC 9457); the detail of any other response is its text."""
        status, title = response.status_code, response.reason_phrase
        try:
            problem = response.json()
            kind = problem.get("type", "about:blank")
            return cls(status, problem["title"], problem["detail"], problem.get("request_id"), kind)
        except (ValueError, LookupError, TypeError, AttributeError):
            return cls(status, title, response.text[:1000], response.headers.get("x-request-id"))
