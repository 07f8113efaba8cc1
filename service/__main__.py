"""The command ``anyview-serve``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from service import grpc, impute
from service.app import create_app, described, served
from service.errors import invalid
from service.http.application import CLOSING_SECONDS
from service.http.protocol import Protocol
from service.http.server import run
from service.models import trials
from service.models.catalog import Catalog
from service.models.warm import WarmProcess
from service.settings import Settings, UnusableKeys
from service.telemetry import logs
from service.telemetry.metrics import counted_together
from service.telemetry.tracing import NotInstalled, check_installed

WORKER_SECONDS = 60
"""A worker that does not answer its master for so long, in seconds, is replaced. On a busy machine the import
of the libraries takes longer than uvicorn's five."""


def main() -> None:
    try:
        if sys.argv[1:2] == ["impute"]:
            impute.main(sys.argv[2:])
            return
        if sys.argv[1:2] == ["openapi"]:
            _print_openapi(sys.argv[2:])
            return
        settings = CliApp.run(Settings)
        settings.check_keys()
        check_installed(settings.trace_endpoint)
        grpc.check(settings)
    except ValidationError as error:
        sys.exit("\n".join(f"anyview-serve: {_describe(one)}" for one in error.errors()))
    except (SettingsError, UnusableKeys, NotInstalled, grpc.CannotServe) as error:
        sys.exit(f"anyview-serve: {error}")
    with counted_together(settings.workers):
        _serve(settings)


def _print_openapi(arguments: list[str]) -> None:
    """Runs ``anyview-serve openapi [FILE] [--store …]``: writes the OpenAPI document without a server."""
    file = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    settings = CliApp.run(Settings, cli_args=arguments)
    catalog = Catalog(settings)
    try:
        catalog.refresh()
        text = orjson.dumps(described(create_app(settings), catalog), option=orjson.OPT_INDENT_2) + b"\n"
    finally:
        catalog.close()
    if file is None:
        sys.stdout.buffer.write(text)
    else:
        Path(file).write_bytes(text)


def _serve(settings: Settings) -> None:
    # uvicorn raises the signal again after it has ended; death by a signal would not be exit code 0.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    os.environ.update(settings.to_environment())  # worker processes read their settings from there
    if settings.workers == 1 and sys.platform == "linux":
        trials.WARM = WarmProcess.forked()  # now, before there are threads
    config = uvicorn.Config(
        "service.app:app" if settings.workers > 1 else served(settings),
        interface="asgi3",
        workers=settings.workers,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        proxy_headers=False,  # no response depends on the client's address or the scheme
        ws="none",  # there are no websockets; attempts would be logged with their query
        server_header=False,
        access_log=False,  # the service's own log has the request id, and does not show the query
        log_config=logs.config(settings.log_format, settings.log_level, settings.log_requests),
        # Requests get their 503 before; what is closed then are clients that do not read it.
        timeout_graceful_shutdown=settings.finish_seconds + CLOSING_SECONDS,  # type: ignore[arg-type]
        timeout_worker_healthcheck=WORKER_SECONDS,
    )
    run(config)


def _describe(error: Any) -> str:
    """Describes one validation error; the value of a key is not shown."""
    return invalid(error, show_input=not error["loc"] or error["loc"][0] != "api_keys")


if __name__ == "__main__":
    main()
