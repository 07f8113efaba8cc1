"""Record of one request, from which metrics, ``Server-Timing``, logs and traces are made."""

from __future__ import annotations

from typing import Any

from service.engine.phases import PhaseTimer


class RequestContext:
    """A request and its response.

    Arguments:
        request_id: Identifier of the request in log, trace and response.
    """

    __slots__ = (
        "modalities",
        "model",
        "operation",
        "phases",
        "request_id",
        "rows",
        "span",
        "status",
        "trace_id",
    )

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.trace_id = ""
        self.span: Any = None
        """Open span of the request, if traces are on."""
        self.phases = PhaseTimer()
        self.operation = ""
        """OpenAPI operation id; empty until a route matched."""
        self.model = ""
        """Name of a loaded model, never a name that a client sent: it becomes a metric label."""
        self.modalities = 0
        self.rows = 0
        self.status = 0
        """HTTP status of the response; 0 until there is one."""

    def read(self, model: str, rows: int, modalities: int) -> None:
        """Records that the body is read.

        Arguments:
            model: Name of the loaded model that the request is for.
            rows: Number of rows sent.
            modalities: Number of modalities sent.
        """
        self.model, self.rows, self.modalities = model, rows, modalities
        self.phases.record("read")

    def answer(self, status: int) -> None:
        """Records that the response is about to be sent, which ends the last phase."""
        self.status = status
        self.phases.finish()
