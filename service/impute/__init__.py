"""The command ``anyview-serve impute FILE``, which fills the empty cells of a table without a server."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from models_store.arrays import Array
from models_store.errors import InputRefused, listed
from models_store.tables import Writer, dialect_for, table_writer
from models_store.tables.matching import MatchedTable, full_names, read_matched, untrained_columns
from service.engine.model import Generated, Model
from service.engine.observations import Column, Observations
from service.errors import NotReady, Refusal, WrongInput
from service.formats import tables
from service.formats.named_files import numbers_of_files, with_files
from service.impute.options import parser
from service.impute.progress import Progress
from service.models.catalog import Catalog
from service.settings import Settings

ROWS_AT_ONCE = 1000
CELLS_AT_ONCE = 2**20
"""Cells of a table, or drawn numbers, that are in memory at a time."""

T = TypeVar("T")


@dataclass(frozen=True)
class Checked:
    """A table whose cells have all been read once.

    Arguments:
        table: The table.
        rows: Number of its rows.
        unobserved: Number of rows in which nothing is observed.
    """

    table: MatchedTable
    rows: int
    unobserved: int


def main(arguments: Sequence[str]) -> None:
    """Runs the command; exits with a message and code 1 where it fails.

    Arguments:
        arguments: Arguments after ``impute`` on the command line.
    """
    command = parser()
    options = command.parse_args(arguments)
    if options.m is not None and options.output is None:
        command.error("--m writes several tables: name the first part of their names with --output")
    # The limit protects a service from its clients; here ROWS_AT_ONCE limits the memory.
    settings = Settings(
        max_numbers=sys.maxsize, memory_bytes=sys.maxsize, **{"store": options.store} if options.store else {}
    )
    catalog = Catalog(settings)
    try:
        catalog.refresh()
        progress = Progress(sys.stderr)
        try:
            _run(_model(catalog, options.model), options, progress)
        finally:
            progress.end()
    except (Refusal, InputRefused, OSError) as error:
        sys.exit(f"anyview-serve impute: {error}")
    finally:
        catalog.close()


# --- without the command -------------------------------------------------------------------------------


def fill(
    model: Model, file: Path, output: Path, *, seed: int, draws: int, m: int | None = None
) -> list[Path]:
    """Fills a table as the command does; returns the paths of the filled tables, one or m.

    Arguments:
        model: The model.
        file: The table.
        output: Path of the filled table, or of the first part of the names of m tables.
        seed: Seed of the draws.
        draws: Number of draws for every cell.
        m: Number of tables of joint draws; None: one table of means.

    Raises:
        InputRefused: A cell does not fit the model.
        Refusal: No column is known, or nothing is observed in any row.
    """
    words = [str(file), "--output", str(output), "--seed", str(seed), "--K", str(draws)]
    options = parser().parse_args(words + ([] if m is None else ["--m", str(m)]))
    _finish(_run, model, options, Progress(io.StringIO()))
    return _tables(options)


def label_probabilities(model: Model, file: Path, column: str, *, seed: int, draws: int) -> Array:
    """Probabilities of the labels of a column given all other columns of a table, (n, labels).

    A row in which nothing else is observed has those of the prior.

    Arguments:
        model: The model.
        file: The table.
        column: Header of a category.
        seed: Seed of the draws.
        draws: Number of draws of z for every row.
    """
    matched = read_matched(model.manifest, file)
    target = matched.places[matched.headers.index(column)].modality.name
    ask = partial(model.generate, fields=["probabilities"], summary_draws=draws, seed=seed)
    parts, before = [], 0
    for piece in matched.pieces(_rows_at_once(model, matched, 1)):
        columns = tables.observed(piece).columns
        others = Observations({name: columns[name] for name in columns if name != target}, len(piece.rows))
        given = tables.present(others)
        part = np.zeros((others.n, len(model.manifest.modality(target).labels or ())))
        for rows, condition in ((given, "all"), (~given, "none")):
            if rows.any():
                some = _taken(others, rows, before)
                answered = _finish(asyncio.run, ask(some, [condition], [target]))
                part[rows] = answered.targets[target]["probabilities"]
        parts.append(part)
        before += others.n
    return np.concatenate(parts)


def _taken(observations: Observations, rows: Array, before: int) -> Observations:
    """Some rows, and of the modalities those that any of them has."""
    columns = {
        name: Column.masked(one.values[rows], one.present[rows])
        for name, one in observations.columns.items()
        if one.present[rows].any()
    }
    return Observations(columns, int(rows.sum()), first_row=before)


def _finish(function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function that runs an event loop, in a thread: notebooks have a running one in theirs."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function, *arguments).result()


def _run(model: Model, options: argparse.Namespace, progress: Progress) -> None:
    """Checks the whole table, then fills it: so errors are reported before a long computation."""
    if not options.file.is_file() and options.file.exists():
        raise WrongInput(f"{options.file} is no file, and a table is read twice: first to check it")
    matched = read_matched(model.manifest, options.file, options.keep)
    checked = _checked(model, matched, options, progress)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    fill = partial(_fill, model, checked, options, seed, progress)
    if options.output is None:
        asyncio.run(fill([sys.stdout.buffer]))
    else:
        named = _tables(options)
        state = [] if options.m is None else [options.output.with_name(f"{options.output.name}.draws.json")]
        with _written([*named, *state]) as drafts:
            asyncio.run(fill(drafts[: len(named)]))
            for path in drafts[len(named) :]:
                path.write_bytes(_state(model, options, seed))
    _report(model, checked, options.keep)


def _checked(model: Model, matched: MatchedTable, options: argparse.Namespace, progress: Progress) -> Checked:
    rows = unobserved = 0
    for piece in matched.pieces(_rows_at_once(model, matched, 1)):
        present = tables.present(_observed(model, piece, options))
        rows, unobserved = rows + len(present), unobserved + int((~present).sum())
        progress.show("checked", None, rows)
    if not rows:
        raise WrongInput(f"{options.file} has no rows below its header")
    if unobserved == rows:
        names = listed({place.modality.name: None for place in matched.places.values()})
        raise WrongInput(f"no row of {options.file} has anything observed of {names}")
    return Checked(matched, rows, unobserved)


async def _fill(
    model: Model,
    checked: Checked,
    options: argparse.Namespace,
    seed: int,
    progress: Progress,
    targets: Sequence[Path | BinaryIO],
) -> None:
    """Fills the table into every target: one with means and bounds, or one for each draw."""
    progress.restart()
    observed_before, m = 0, options.m
    with ExitStack() as stack:
        writers: list[Writer] = []
        for piece in checked.table.pieces(_rows_at_once(model, checked.table, m or 1)):
            observations = _observed(model, piece, options)
            filling = _filling(model, observations, checked, options)
            if not writers:
                dialect = dialect_for(str(options.output or ""), checked.table.table.dialect)
                writers = [
                    stack.enter_context(table_writer(target, filling.plan(dialect))) for target in targets
                ]
            rows = filling.rows(observed_before)
            generated = await _generated(model, rows, filling.targets, options, seed)
            observed_before += rows.n
            for number, writer in enumerate(writers):
                estimate = tables.means(generated) if m is None else tables.draws(generated, number)
                for filled in filling.fill(estimate):
                    writer.append(*filled)
            done = piece.first_row + observations.n
            progress.show("filled ", done / checked.rows, done)


def _observed(model: Model, piece: MatchedTable, options: argparse.Namespace) -> Observations:
    """Rows of a piece, with those of the files that it names."""
    return with_files(model.manifest, tables.observed(piece), piece, options.file.parent)


def _filling(
    model: Model, observations: Observations, checked: Checked, options: argparse.Namespace
) -> tables.Filling:
    return tables.filling(
        model.manifest,
        observations,
        options.gen_mod,
        mark=checked.unobserved > 0,
        bounds=options.m is None,
    )


async def _generated(
    model: Model, rows: Observations, targets: Sequence[str], options: argparse.Namespace, seed: int
) -> Generated:
    """Summaries of the predictive distribution of every row, or joint draws from it."""
    if not rows.n:
        return Generated({}, 0, ())
    generate = partial(model.generate, rows, ["all"], targets, seed=seed)
    if options.m is None:
        return await generate(fields=tables.FIELDS, summary_draws=options.K)
    return await generate(fields=["samples"], draws=options.m, noise=True)


def _rows_at_once(model: Model, matched: MatchedTable, draws: int) -> int:
    cells = sum(len(full_names(one)) for one in model.manifest.modalities if one.traits.tabular)
    files = numbers_of_files(model.manifest, matched.headers)
    most = max(len(matched.headers) + files, draws * cells, 1)
    return max(1, min(ROWS_AT_ONCE, CELLS_AT_ONCE // most))


def _report(model: Model, checked: Checked, keep: Sequence[str]) -> None:
    """Reports columns that are not the model's, and rows in which nothing is observed."""
    copied = [header for header in untrained_columns(model.manifest, checked.table) if header not in keep]
    if copied:
        print(f"copied as they are, since the model does not have them: {listed(copied)}", file=sys.stderr)
    if checked.unobserved:
        print(
            f"{checked.unobserved} of {checked.rows} rows have nothing observed: they stay as they are, with "
            f"'false' in the column {tables.OBSERVED}",
            file=sys.stderr,
        )


def _state(model: Model, options: argparse.Namespace, seed: int) -> bytes:
    """Text of the file beside the tables that states what drew them."""
    document = {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "table": options.file.name,
        "seed": seed,
        "m": options.m,
        "tables": [path.name for path in _tables(options)],
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _model(catalog: Catalog, name: str | None) -> Model:
    if catalog.store_away is not None:
        raise NotReady(catalog.store_away)
    selected = name or catalog.default
    if selected is None:
        raise WrongInput(f"--model must choose one of {listed(catalog.loaded)}")
    return catalog.get(selected).model


def _tables(options: argparse.Namespace) -> list[Path]:
    """Paths of the filled tables: the output, or one for each draw, numbered before the endings."""
    output: Path = options.output
    if options.m is None:
        return [output]
    stem, dot, endings = output.name.partition(".")
    width = len(str(options.m))
    return [output.with_name(f"{stem}.{number:0{width}}{dot}{endings}") for number in range(1, options.m + 1)]


@contextmanager
def _written(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """Yields files that appear under their paths when all are complete."""
    drafts = [path.with_name(f".{path.name}.part") for path in paths]
    try:
        yield drafts
        for draft, path in zip(drafts, paths, strict=True):
            draft.replace(path)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
