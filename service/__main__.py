"""The command ``anyview-serve``."""

from __future__ import annotations

import math
import os
import signal
import sys

import uvicorn
from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from service import impute
from service.app import create_app
from service.settings import Settings


def main() -> None:
    try:
        if sys.argv[1:2] == ["impute"]:
            impute.main(sys.argv[2:])
            return
        settings = CliApp.run(Settings)
    except (ValidationError, SettingsError) as error:
        sys.exit(f"anyview-serve: {error}")
    # When uvicorn has finished it raises the signal once more, and to be killed by it is no success.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    os.environ.update(settings.to_environment())  # processes of their own read it from there
    uvicorn.run(
        "service.app:worker" if settings.workers > 1 else create_app(settings),
        factory=settings.workers > 1,
        workers=settings.workers,
        host=settings.host,
        port=settings.port,
        access_log=False,  # a line per request that does not say which one it was
        timeout_graceful_shutdown=math.ceil(settings.deadline_seconds) + 1,
    )


if __name__ == "__main__":
    main()
