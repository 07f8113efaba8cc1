"""The command ``anyview-serve impute FILE``, which fills the empty cells of a table without a server."""

from __future__ import annotations

import argparse
import asyncio
import csv
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from models_store.errors import InputRefused, listed
from models_store.kinds import table
from service.engine.model import Model
from service.engine.observations import Table
from service.engine.rules import check_observed
from service.errors import NotReady, Refusal, WrongInput
from service.formats import tables
from service.models.catalog import Catalog
from service.settings import Settings

ROWS_AT_ONCE = 1000
BAR = 30
"""Characters of the progress bar."""


@dataclass(frozen=True)
class Piece:
    """Some lines of a table, and the share of its file that has been read.

    Arguments:
        table: Header and lines.
        first_row: Number of the first of these lines, counted from 0 below the header.
        done: Share of the file that has been read, 0 … 1.
    """

    table: Table
    first_row: int
    done: float


def main(arguments: Sequence[str]) -> None:
    """Runs the command; exits with a message and code 1 where it fails.

    Arguments:
        arguments: Arguments after ``impute`` on the command line.
    """
    options = _parser().parse_args(arguments)
    # The limit protects a service from its clients; here ROWS_AT_ONCE limits the memory.
    settings = Settings(max_numbers=sys.maxsize, **{"store": options.store} if options.store else {})
    catalog = Catalog(settings)
    try:
        catalog.refresh()
        model = _model(catalog, options.model)
        with _written(options.output) as target:
            progress = Progress(sys.stderr)
            try:
                asyncio.run(_impute(model, options, target, progress))
            finally:
                progress.end()
    except (Refusal, InputRefused, OSError) as error:
        sys.exit(f"anyview-serve impute: {error}")
    finally:
        catalog.close()


class Progress:
    """A progress bar in one line of a terminal; draws nothing where the stream is no terminal.

    Arguments:
        terminal: Stream to draw on.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._seen = terminal.isatty()
        self._start = time.monotonic()

    def show(self, step: str, done: float, rows: int) -> None:
        """Draws the bar.

        Arguments:
            step: Name of the step that is running.
            done: Finished share, 0 … 1.
            rows: Finished rows.
        """
        if not self._seen:
            return
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


async def _impute(model: Model, options: argparse.Namespace, target: TextIO, progress: Progress) -> None:
    """Checks the whole table, then fills it: so errors are reported before a long computation."""
    for piece in _pieces(options.file, options.keep):
        observations = tables.observed(model.manifest, piece.table, piece.first_row)
        if not observations.columns:
            raise WrongInput(f"no column of the table is the model's: {listed(piece.table.header)}")
        check_observed(observations, list(observations.columns))
        progress.show("checked", piece.done, piece.first_row + observations.n)
    progress.restart()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    writer = csv.writer(target, lineterminator="\n")
    for piece in _pieces(options.file, options.keep):
        observations = tables.observed(model.manifest, piece.table, piece.first_row)
        sent, targets = tables.to_fill(model.manifest, observations, options.gen_mod)
        generated = await model.generate(
            observations, ["all"], targets, fields=tables.FIELDS, summary_draws=options.K, seed=seed
        )
        lines = tables.fill(model.manifest, sent, generated)
        writer.writerows(lines if piece.first_row == 0 else islice(lines, 1, None))
        progress.show("filled ", piece.done, piece.first_row + observations.n)


def _pieces(path: Path, keep: Sequence[str]) -> Iterator[Piece]:
    """Yields a table of any size in pieces that fit into memory.

    Raises:
        WrongInput: The path is no regular file, or the file is no table or has no rows.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise WrongInput(f"{path} is no file, and a table is read twice: first to check it")
    with path.open("rb") as file, table.as_text(file) as text:
        lines = table.read_csv(text)
        header = tuple(next(lines, ()))
        first_row = 0
        while piece := list(islice(lines, ROWS_AT_ONCE)):
            yield Piece(Table(header, piece, keep), first_row, file.tell() / size)
            first_row += len(piece)
    if first_row == 0:
        raise WrongInput(f"{path} has no rows below its header")


def _model(catalog: Catalog, name: str | None) -> Model:
    if catalog.store_away is not None:
        raise NotReady(catalog.store_away)
    selected = name or catalog.default
    if selected is None:
        raise WrongInput(f"--model must choose one of {listed(catalog.loaded)}")
    return catalog.get(selected).model


@contextmanager
def _written(path: Path | None) -> Iterator[TextIO]:
    """Opens standard output, or a file that appears when it is complete."""
    if path is None:
        yield sys.stdout
        return
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("w", newline="", encoding="utf-8") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "anyview-serve impute",
        description="Fills the empty cells of a table: a cell gets the mean of its predictive distribution, "
        "or the most probable label. Further columns hold the bounds of 90 % of that distribution "
        "(.low, .high), or the label's .probability.",
    )
    add = parser.add_argument
    add("file", type=Path, help="CSV; its header names columns as modality.column, or the column alone.")
    add("--output", type=Path, help="file for the filled table; default: standard output")
    add(
        "--store", help="folder or address of published models; default: ANYVIEW_STORE, else the shipped ones"
    )
    add("--model", help="default: ANYVIEW_DEFAULT_MODEL, else the only one")
    add("--keep", type=_names, default=[], help="columns that the model does not have, such as a key: a,b,…")
    add("--gen-mod", type=_names, default=["all"], help="modalities to fill; default: those of the table")
    add("--K", type=_at_least(1), default=100, help="draws for every cell; default: 100")
    add("--seed", type=_at_least(0), help="seed of the draws; the same seed gives the same table")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _at_least(lowest: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        number = int(text)
        if number < lowest:
            raise argparse.ArgumentTypeError(f"must be at least {lowest}, got {number}")
        return number

    return whole
