"""Descriptions of error responses."""

from __future__ import annotations

from typing import Any

ERRORS = {
    400: "The body, or a file in it, cannot be read.",
    401: "The service needs one of its keys.",
    403: "The settings do not allow this.",
    404: "No such model, version or file.",
    406: "The response exists in no media type that Accept allows.",
    408: "The body took too long to arrive.",
    409: "A service with several processes cannot do this.",
    413: "Too many bytes, rows or draws.",
    415: "The body has an unknown media type.",
    422: "A wrong subset, shape, label or parameter, or a response that is too large or takes too long.",
    429: "Too many requests are in progress; `Retry-After` estimates the seconds until they are done.",
    500: "A failure of the service; its log has the reason under the `request_id`.",
    503: "No model is ready, or the request took too long.",
}
"""Meaning of each status."""

OF_INFERENCE = tuple(status for status in ERRORS if status not in (403, 409))


def problem(status: int) -> dict[str, Any]:
    """Returns the description of a response with that status."""
    schema = {"$ref": "#/components/schemas/Problem"}
    response: dict[str, Any] = {
        "description": ERRORS[status],
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status == 429:
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return response
