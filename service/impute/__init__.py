"""The command ``anyview-serve impute FILE``, which fills the empty cells of a table without a server."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from models_store.arrays import Array
from models_store.errors import ModelsStoreError, listed
from models_store.tables.matching import read_matched
from service.engine.model import Model
from service.engine.observations import Column, Observations
from service.errors import NotReady, Refusal, WrongInput
from service.formats import tables
from service.impute import dataset
from service.impute.engines import Engine
from service.impute.files import ModelLoader
from service.impute.options import FillOptions, draw_numbers, parser
from service.impute.progress import Progress
from service.impute.table import Counts, Filling, rows_at_once
from service.models.catalog import Catalog
from service.settings import Settings

T = TypeVar("T")


def main(arguments: Sequence[str]) -> None:
    """Runs the command; exits with a message and code 1 where it fails.

    Arguments:
        arguments: Arguments after ``impute`` on the command line.
    """
    command = parser()
    options = command.parse_args(arguments)
    is_data_set = dataset.is_data_set(options.file)
    if options.output is None and is_data_set:
        command.error(f"{options.file} is a data set: name a folder for its filled files with --output")
    if options.output is None and options.m is not None:
        command.error("--m writes several tables: name the first part of their names with --output")
    # The limit protects a service from its clients; here ROWS_AT_ONCE limits the memory.
    settings = Settings(
        max_numbers=sys.maxsize, memory_bytes=sys.maxsize, **{"store": options.store} if options.store else {}
    )
    catalog = Catalog(settings)
    try:
        if options.model is None:
            catalog.refresh()
        else:
            catalog.load(options.model)
        progress = Progress(sys.stderr)
        try:
            model = _model(catalog, options.model)
            (_run_data_set if is_data_set else _run)(model, options, progress)
        finally:
            progress.end()
    except (Refusal, ModelsStoreError, OSError) as error:
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
    for piece in matched.pieces(rows_at_once(model.manifest, matched.headers)):
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


def _run_data_set(model: Model, arguments: argparse.Namespace, progress: Progress) -> None:
    """Fills the files of a data set, all of them or those that an earlier run left."""
    loader = ModelLoader(arguments.store or Settings().store, model.manifest.name, model.manifest.version)
    engine = Engine(arguments.engine, arguments.workers)
    run = dataset.Run(loader, FillOptions.of(arguments), arguments.seed)
    report(*dataset.fill(arguments.file, arguments.output, run, engine, progress))


def _run(model: Model, arguments: argparse.Namespace, progress: Progress) -> None:
    """Checks the whole table, then fills it: so errors are reported before a long computation."""
    file, options = Path(arguments.file), FillOptions.of(arguments)
    # Unlike the methods of Path, these take a name that is too long for one that does not exist.
    if not os.path.isfile(file) and os.path.exists(file):  # noqa: PTH110, PTH113
        raise WrongInput(f"{file} is no file, and a table is read twice: first to check it")
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    table = read_matched(model.manifest, file, options.keep)
    filling = Filling(model, table, file.parent, options, seed)
    counts = _counted(filling, file, progress)
    progress.restart()
    show = partial(_show_filled, progress, counts.rows)
    write = partial(filling.write, name=arguments.output or "", mark=counts.unobserved > 0, show=show)
    if arguments.output is None:
        asyncio.run(write([sys.stdout.buffer]))
    else:
        named = _tables(arguments)
        state = [] if options.m is None else [Path(f"{arguments.output}.draws.json")]
        with _written([*named, *state]) as drafts:
            asyncio.run(write(drafts[: len(named)]))
            for path in drafts[len(named) :]:
                path.write_bytes(_state(model, arguments, seed))
    report(filling.copied, counts)
    if below := len(filling.table.table.source.footer):
        lines = "1 line" if below == 1 else f"{below} lines"
        print(f"{lines} below the rows, such as totals and notes, copied as they are", file=sys.stderr)


def _counted(filling: Filling, file: Path, progress: Progress) -> Counts:
    counts = filling.count(lambda rows: progress.show("checked", None, rows))
    if not counts.rows:
        raise WrongInput(f"{file} has no rows below its header")
    if counts.unobserved == counts.rows:
        names = listed({place.modality.name: None for place in filling.table.places.values()})
        raise WrongInput(f"no row of {file} has anything observed of {names}")
    return counts


def _show_filled(progress: Progress, rows: int, done: int) -> None:
    progress.show("filled ", done / rows, done)


def report(copied: Sequence[str], counts: Counts) -> None:
    """Reports columns that are not the model's, and rows in which nothing is observed."""
    if copied:
        print(f"copied as they are, since the model does not have them: {listed(copied)}", file=sys.stderr)
    if counts.unobserved:
        print(
            f"{counts.unobserved} of {counts.rows} rows have nothing observed: they stay as they are, with "
            f"'false' in the column {tables.OBSERVED}",
            file=sys.stderr,
        )


def _state(model: Model, arguments: argparse.Namespace, seed: int) -> bytes:
    """Text of the file beside the tables that states what drew them."""
    document = {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "table": Path(arguments.file).name,
        "seed": seed,
        "m": arguments.m,
        "tables": [path.name for path in _tables(arguments)],
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _model(catalog: Catalog, name: str | None) -> Model:
    if catalog.store_away is not None:
        raise NotReady(catalog.store_away)
    selected = name or catalog.default
    if selected is None:
        raise WrongInput(f"--model must choose one of {listed(catalog.loaded)}")
    return catalog.get(selected).model


def _tables(arguments: argparse.Namespace) -> list[Path]:
    """Paths of the filled tables: the output, or one for each draw, numbered before the endings."""
    output = Path(arguments.output)
    stem, dot, endings = output.name.partition(".")
    numbers = draw_numbers(arguments.m)
    return [output.with_name(f"{stem}.{number}{dot}{endings}") for number in numbers] or [output]


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
