"""OpenTelemetry, where it is installed (the extra ``otel``) and set: a span per request and phase."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from service.telemetry.context import RequestContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

MOST_PHASES = 200
"""Most phases of one request that get a span; a request of thousands of rows has more."""


class NotInstalled(Exception):
    """Traces are configured, but the extra that sends them is not installed."""


def tracer_to(endpoint: str | None) -> Tracer | None:
    """Sender of traces to an endpoint over OTLP/HTTP; None for no endpoint.

    Raises:
        NotInstalled: The extra is missing.
    """
    check_installed(endpoint)
    if endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return Tracer(OTLPSpanExporter(endpoint=endpoint), batched=True)


def check_installed(endpoint: str | None) -> None:
    """Refuses an endpoint to which nothing could send.

    Raises:
        NotInstalled: The extra is missing.
    """
    try:
        if endpoint is None or find_spec("opentelemetry.exporter.otlp.proto.http"):
            return
    except ModuleNotFoundError:  # of a package above it
        pass
    raise NotInstalled("traces need the extra otel: pip install 'anyview[otel]'")


class Tracer:
    """Makes a span of a request once it is over, and one below it of each phase.

    What OpenTelemetry reads from ``OTEL_…`` variables, such as the sampler, holds.

    Arguments:
        exporter: Where spans go.
        batched: From a thread, some at a time; else at once.
    """

    def __init__(self, exporter: SpanExporter, batched: bool = False) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        name = os.environ.get("OTEL_SERVICE_NAME", "anyview")
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
        processor = BatchSpanProcessor if batched else SimpleSpanProcessor
        self._provider.add_span_processor(processor(exporter))
        self._tracer = self._provider.get_tracer("anyview")

    def begin(self, context: RequestContext, headers: Mapping[bytes, bytes]) -> None:
        """Starts the span of a request, below that of its client if it has one (``traceparent``)."""
        from opentelemetry.trace import SpanKind, format_trace_id
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {
            name: headers[name.encode()].decode("latin1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        parent = TraceContextTextMapPropagator().extract(carrier)
        span = self._tracer.start_span("request", context=parent, kind=SpanKind.SERVER)
        context.span = span
        context.trace_id = format_trace_id(span.get_span_context().trace_id)

    def end(self, context: RequestContext) -> None:
        """Ends the span with the attributes of the request, and adds a span per phase."""
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        span: Any = context.span
        if span.is_recording():
            span.update_name(context.operation or "none")
            span.set_attributes(
                {
                    "http.response.status_code": context.status,
                    "anyview.request_id": context.request_id,
                    "anyview.model": context.model,
                    "anyview.rows": context.rows,
                    "anyview.modalities": context.modalities,
                }
            )
            if context.status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            below = set_span_in_context(span)
            # Phases are timed by a monotonic clock; spans need the time of day.
            offset = time.time() - time.perf_counter()
            last = context.phases.began
            for phase, end in context.phases.ends[:MOST_PHASES]:
                child = self._tracer.start_span(phase, context=below, start_time=_nanoseconds(last + offset))
                child.end(_nanoseconds(end + offset))
                last = end
        span.end()

    def close(self) -> None:
        """Sends what is still to be sent."""
        self._provider.shutdown()


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
