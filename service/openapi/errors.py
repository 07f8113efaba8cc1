"""What may be answered instead of an answer."""

from __future__ import annotations

from typing import Any

ERRORS = {
    400: "The body, or a file in it, cannot be read.",
    401: "The service wants a key, and this is none of its keys.",
    403: "The service is set not to do this.",
    404: "No such model, version or file.",
    406: "The answer has no form that Accept allows.",
    408: "The body took too long to arrive.",
    409: "A service with several processes cannot do this.",
    413: "Too many bytes, rows or draws.",
    415: "The body has an unknown media type.",
    422: "A wrong subset, shape, label or parameter, or too large an answer.",
    429: "Too many rows wait; `Retry-After` estimates for how long.",
    500: "A failure of the service; its log has the reason under the `request_id`.",
    503: "No model is ready, or the question took too long.",
}
"""By status, what it means."""

OF_QUESTIONS = tuple(status for status in ERRORS if status not in (403, 409))


def problem(status: int) -> dict[str, Any]:
    """The answer of that status, as OpenAPI describes it."""
    schema = {"$ref": "#/components/schemas/Problem"}
    told: dict[str, Any] = {
        "description": ERRORS[status],
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status == 429:
        told["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return told
