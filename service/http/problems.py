"""An error as an answer: RFC 9457, ``application/problem+json``."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import Response

from service.schemas import Problem


def problem(
    status: HTTPStatus, detail: str, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer that tells of an error.

    Arguments:
        status: Of the answer.
        detail: What came, what was wanted, and where.
        request_id: By which the log knows the request.
        headers: Further ones.
    """
    told = Problem(title=status.phrase, status=status, detail=detail, error=detail, request_id=request_id)
    return Response(told.model_dump_json(), status, headers, media_type="application/problem+json")
