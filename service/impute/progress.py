"""The progress of a long command, on a terminal."""

from __future__ import annotations

import time
from typing import TextIO

BAR = 30
"""Characters of the progress bar."""


class Progress:
    """A progress bar in one line of a terminal; draws nothing where the stream is no terminal.

    Arguments:
        terminal: Stream to draw on.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._seen = terminal.isatty()
        self._start = time.monotonic()

    def show(self, step: str, done: float | None, rows: int) -> None:
        """Draws the bar, or without a share the number of rows alone.

        Arguments:
            step: Name of the step that is running.
            done: Finished share, 0 … 1; None where it is unknown.
            rows: Finished rows.
        """
        if not self._seen:
            return
        if done is None:
            self._terminal.write(f"\r{step} {rows} rows \033[K")
        else:
            left = (time.monotonic() - self._start) * (1 - done) / max(done, 1e-9)
            bar = "█" * round(BAR * done) + "·" * (BAR - round(BAR * done))
            self._terminal.write(f"\r{step} {bar} {100 * done:3.0f} %  {rows} rows, {left:.0f} s left \033[K")
        self._terminal.flush()

    def restart(self) -> None:
        self._start = time.monotonic()

    def end(self) -> None:
        """Ends the line of the bar."""
        if self._seen:
            self._terminal.write("\n")
