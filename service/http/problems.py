"""Error responses: RFC 9457, ``application/problem+json``."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import Response

from service.schemas import Problem


def problem(
    status: HTTPStatus, detail: str, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Returns the response that reports an error.

    Arguments:
        status: Status of the response.
        detail: What came, what is accepted, and where.
        request_id: Id of the request in the log.
        headers: Further headers.
    """
    body = Problem(title=status.phrase, status=status, detail=detail, error=detail, request_id=request_id)
    return Response(body.model_dump_json(), status, headers, media_type="application/problem+json")
