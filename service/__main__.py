"""The command ``anyview-serve``."""

from __future__ import annotations

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
    # uvicorn finishes what is in flight and then raises the signal again: to be asked to leave is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
