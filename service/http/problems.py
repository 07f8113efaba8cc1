"""Error responses: RFC 9457, ``application/problem+json``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import Response

from service.errors import Refusal
from service.schemas import Problem, ProblemType

BY_STATUS: Mapping[HTTPStatus, ProblemType] = {
    HTTPStatus.BAD_REQUEST: "urn:anyview:unparsable",
    HTTPStatus.UNAUTHORIZED: "urn:anyview:unauthorized",
    HTTPStatus.FORBIDDEN: "urn:anyview:forbidden",
    HTTPStatus.NOT_FOUND: "urn:anyview:not-found",
    HTTPStatus.METHOD_NOT_ALLOWED: "urn:anyview:wrong-method",
    HTTPStatus.REQUEST_TIMEOUT: "urn:anyview:too-slow",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "urn:anyview:too-large",
    HTTPStatus.MISDIRECTED_REQUEST: "urn:anyview:misdirected",
    HTTPStatus.UNPROCESSABLE_ENTITY: "urn:anyview:wrong-input",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "urn:anyview:too-large",
    HTTPStatus.SERVICE_UNAVAILABLE: "urn:anyview:not-ready",
}
"""Types of errors that are no refusals; of any other status: a failure."""


def type_of(error: Refusal) -> str:
    """Returns the type of a refusal, such as ``urn:anyview:wrong-input`` of ``WrongInput``."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    return f"urn:anyview:{name}"


def problem(
    status: HTTPStatus,
    detail: str,
    request_id: str,
    headers: Mapping[str, str] | None = None,
    type_: str | None = None,
) -> Response:
    """Returns the response that reports an error.

    Arguments:
        status: Status of the response.
        detail: What came, what is accepted, and where.
        request_id: Id of the request in the log.
        headers: Further headers.
        type_: Type of the error; None: that of the status.
    """
    fields = {"title": status.phrase, "status": status, "detail": detail, "error": detail}
    type_ = type_ or BY_STATUS.get(status, "urn:anyview:failure")
    body = Problem.model_validate({"type": type_, **fields, "request_id": request_id})
    return Response(body.model_dump_json(), status, headers, media_type="application/problem+json")
