"""Logs: one line per event, as JSON or for people. Nothing of what was uploaded is ever in one.

The standard library's logging with a formatter of its own, since what uvicorn and others log then takes the
same way. A request is logged by its operation, model and id, never by its path, query or error text: all of
them may hold what was sent. For the same reason an exception is logged by its type and the lines of its
traceback, without its message.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

from service.telemetry.context import RequestContext

OURS = ("anyview", "uvicorn")
"""Loggers that say nothing of what was sent. Readers of forms and pictures do: their words are left out."""

requests = logging.getLogger("anyview.requests")


def config(form: str, level: str, with_requests: bool) -> dict[str, Any]:
    """For ``logging.config.dictConfig``.

    Arguments:
        form: ``json``, ``text``, or ``auto``: text where a terminal shows it.
        level: The least that is logged.
        with_requests: A line for each request, too.
    """
    as_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"service.telemetry.logs.{'Text' if as_text else 'Json'}"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            **{name: {"level": level.upper()} for name in OURS},
            "anyview.requests": {"level": "INFO" if with_requests else "ERROR"},
        },
    }


def request(context: RequestContext, seconds: float) -> None:
    """Logs a request that is over; called only while the logger ``requests`` is enabled."""
    fields = {
        "request_id": context.request_id,
        "operation": context.operation,
        "model": context.model,
        "status": context.status,
        "modalities": context.modalities,
        "rows": context.rows,
        "ms": round(1e3 * seconds, 3),
        "phases_ms": {phase: round(1e3 * spent, 3) for phase, spent in context.phases.seconds.items()},
    }
    if context.trace_id:
        fields["trace_id"] = context.trace_id
    requests.info("request", extra={"fields": fields})


class Json(logging.Formatter):
    """An object per line."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {"time": when, "level": record.levelname.lower(), "logger": record.name}
        return orjson.dumps({**head, **_fields(record)}, default=str).decode()


class Text(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        event = fields.pop("event")
        when = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        pairs = " ".join(f"{name}={value}" for name, value in fields.items())
        return f"{when} {record.levelname:<7} {event}  {pairs}".rstrip()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    if record.name.partition(".")[0] in OURS:
        fields = {"event": record.getMessage().strip(), **getattr(record, "fields", {})}
    else:
        fields = {"event": "a library logged something", "where": f"{record.pathname}:{record.lineno}"}
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = _traceback(record.exc_info[1])
    return fields


def _traceback(error: BaseException | None) -> list[dict[str, Any]]:
    """An exception and what caused it: types and lines, no words."""
    chain: list[dict[str, Any]] = []
    while error is not None and len(chain) < 10:
        frames = traceback.extract_tb(error.__traceback__)
        chain.append(
            {
                "type": f"{type(error).__module__}.{type(error).__qualname__}",
                "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain
