"""The command ``anyview-serve``."""

from __future__ import annotations

import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from models_store.errors import shown
from service import impute
from service.app import create_app, described, served
from service.http.protocol import Protocol
from service.models.catalog import Catalog
from service.settings import Settings, UnfitKeys
from service.telemetry import logs
from service.telemetry.metrics import counted_together
from service.telemetry.tracing import NotInstalled, check_installed


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
    except ValidationError as error:
        sys.exit("\n".join(f"anyview-serve: {_sentence(one)}" for one in error.errors()))
    except (SettingsError, UnfitKeys, NotInstalled) as error:
        sys.exit(f"anyview-serve: {error}")
    with counted_together(settings.workers):
        _serve(settings)


def _print_openapi(arguments: list[str]) -> None:
    """``anyview-serve openapi [FILE] [--store …]``: the description of the service, without a server."""
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
    # When uvicorn has finished it raises the signal once more, and to be killed by it is no success.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    os.environ.update(settings.to_environment())  # processes of their own read it from there
    uvicorn.run(
        "service.app:worker" if settings.workers > 1 else served(settings),
        interface="asgi3",
        factory=settings.workers > 1,
        workers=settings.workers,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        proxy_headers=False,  # nothing here depends on who asked, or by which scheme
        ws="none",  # there are none, and those tried would be logged with their query
        server_header=False,
        access_log=False,  # ours says which request it was, and not what its query held
        log_config=logs.config(settings.log_format, settings.log_level, settings.log_requests),
        timeout_graceful_shutdown=math.ceil(settings.deadline_seconds) + 1,
    )


def _sentence(error: Any) -> str:
    """One validation error; a key that is wrong is not shown."""
    where = " ".join(str(part) for part in error["loc"])
    got = "" if where.startswith("api_keys") else f", got {shown(error['input'])}"
    return f"{where}: {error['msg']}{got}"


if __name__ == "__main__":
    main()
