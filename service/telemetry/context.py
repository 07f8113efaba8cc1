"""Record of one request, from which metrics, ``Server-Timing``, logs and traces are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from service.engine.phases import PhaseTimer


@dataclass(slots=True, eq=False)
class RequestContext:
    """A request and its response, filled in while the request is answered.

    Arguments:
        request_id: Identifier of the request in log, trace and response.
        phases: Timer of the phases of the request.
        operation: OpenAPI operation id; empty until a route matched.
        model: Name of a loaded model, never a name that a client sent: it becomes a metric label.
        modalities: Number of modalities sent.
        rows: Number of rows sent.
        status: HTTP status of the response; 0 until there is one.
        trace_id: Identifier of the trace, if traces are on.
        span: Open span of the request, if traces are on.
    """

    request_id: str
    phases: PhaseTimer = field(default_factory=PhaseTimer)
    operation: str = ""
    model: str = ""
    modalities: int = 0
    rows: int = 0
    status: int = 0
    trace_id: str = ""
    span: Any = None
