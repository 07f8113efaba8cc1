"""Fills a data set of Parquet files of one schema, which need not fit in memory.

Each file has a filled copy of its name in the output folder, written in full or not at all. The file
``_impute.json`` beside them states what filled them. A later run with the same options fills what is missing.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from models_store.tables.parquet import Footer, connect, read_footer
from models_store.tables.parts import ENDINGS, has_pattern, list_parts
from service.errors import WrongInput
from service.impute.addresses import Location, answering, locate, write_bytes
from service.impute.engines import Engine
from service.impute.files import FileFiller, FileResult, FileTask, ModelLoader
from service.impute.options import FillOptions, draw_numbers
from service.impute.progress import Progress
from service.impute.table import Counts

STATE = "_impute.json"
"""Readers of data sets skip files whose names begin with _ or a dot."""
FOOTERS_AT_ONCE = 8


@dataclass(frozen=True)
class Run:
    """What fills a data set.

    Arguments:
        loader: Address of the model.
        options: Options that decide the numbers.
        seed: Seed of the data set; None: that of the earlier run, or a random one.
    """

    loader: ModelLoader
    options: FillOptions
    seed: int | None


@dataclass(frozen=True)
class DataSet:
    """Parquet files of one schema.

    Arguments:
        root: Folder of the files.
        sizes: Bytes of each file by its path in the folder, sorted by path.
        footers: Footer of each file.
    """

    root: Location
    sizes: Mapping[str, int]
    footers: Mapping[str, Footer]


def is_data_set(text: str) -> bool:
    """Whether the argument of the command names a data set: an address, a folder, or a pattern of paths."""
    # Unlike the methods of Path, these take a name that is too long for one that does not exist.
    if "://" in text or os.path.isdir(text):  # noqa: PTH112
        return True
    return has_pattern(text) and not os.path.exists(text)  # noqa: PTH110


def fill(
    source: str, output: str, run: Run, engine: Engine, progress: Progress
) -> tuple[Sequence[str], Counts]:
    """Fills a data set, or what an earlier run left of it.

    Arguments:
        source: Folder, pattern of paths, or address.
        output: Folder or address for the filled files.
        run: What fills it.
        engine: Engine.
        progress: Bar over the whole data set.

    Returns:
        Headers of columns that the model does not have, and the rows that this run filled.

    Raises:
        WrongInput: There are no files, their schemas differ, a cell does not fit, or the output is of
            another run; the text names the file, for a cell also row and column.
        NotReady: A file system does not answer, or a worker was lost.
    """
    data, target = open_data_set(source), locate(output)
    if target.address == data.root.address or target.address.startswith(f"{data.root.address}/"):
        raise WrongInput(f"{output} lies in the data set; choose a folder outside {data.root.address}")
    filler = _begun(target, data, run)
    tasks = list(_tasks(data, target, run.options))
    if len(tasks) < len(data.footers):
        done = len(data.footers) - len(tasks)
        print(f"{done} of {len(data.footers)} files were filled by an earlier run", file=sys.stderr)
    copied: Sequence[str] = ()
    rows = unobserved = 0
    for result in _filled(filler, tasks, engine, progress):
        copied = result.copied
        rows, unobserved = rows + result.counts.rows, unobserved + result.counts.unobserved
    return copied, Counts(rows, unobserved)


def _filled(
    filler: FileFiller, tasks: Sequence[FileTask], engine: Engine, progress: Progress
) -> Iterator[FileResult]:
    total, done = sum(task.rows for task in tasks), 0

    def show(rows: int) -> None:
        progress.show("filled ", (done + rows) / max(total, 1), done + rows)

    for result in engine.results(filler, tasks, show):
        if result.error is not None:
            raise WrongInput(result.error)
        done += result.counts.rows
        show(0)
        yield result


def _tasks(data: DataSet, target: Location, options: FillOptions) -> Iterator[FileTask]:
    """Files without complete copies."""
    with answering(target):
        there = {*target.files.find(target.path)}
    for name, footer in data.footers.items():
        copies = [target / number / name for number in draw_numbers(options.m)] or [target / name]
        if any(copy.path not in there for copy in copies):
            addresses = tuple(copy.address for copy in copies)
            yield FileTask(name, (data.root / name).address, addresses, footer.rows)


# --- the files of a data set ---------------------------------------------------------------------------


def open_data_set(address: str) -> DataSet:
    """Lists the files of a data set and reads their footers.

    Raises:
        WrongInput: There are no files, or their schemas differ.
        UnreadableFile: A file is not Parquet.
        NotReady: The file system does not answer.
    """
    root, sizes = _listed(address)
    if not sizes:
        raise WrongInput(
            f"{address} has no Parquet files; their names must end in {' or '.join(ENDINGS)} and not begin "
            "with a dot or _"
        )
    data = DataSet(root, sizes, _footers(root, list(sizes)))
    _check_schema(data)
    return data


def _listed(address: str) -> tuple[Location, Mapping[str, int]]:
    """Folder of the data set, and the bytes of each file by its path in the folder."""
    place = locate(address)
    with answering(place):
        folder, sizes = list_parts(place.files, place.path)
    return Location(place.files, folder), sizes


def _footers(root: Location, names: Sequence[str]) -> Mapping[str, Footer]:
    with connect() as connection, ThreadPoolExecutor(FOOTERS_AT_ONCE) as threads:
        if not root.is_local:
            connection.register_filesystem(root.files)

        def read(name: str) -> Footer:
            address = (root / name).address
            with answering(root / name), connection.cursor() as cursor:
                return read_footer(address, address, cursor)

        return dict(zip(names, threads.map(read, names), strict=True))


def _check_schema(data: DataSet) -> None:
    """Compares the columns of every file with those of the first.

    Raises:
        WrongInput: A column differs; the text names both files.
    """
    first, *others = data.footers
    expected = data.footers[first].columns
    for name in others:
        columns = data.footers[name].columns
        if columns == expected:
            continue
        pairs = zip((*expected, None), (*columns, None), strict=False)
        one, other = next((one, other) for one, other in pairs if one != other)
        here, there = (f"'{pair[0]}' ({pair[1]})" if pair else "no further column" for pair in (other, one))
        raise WrongInput(
            f"{(data.root / name).address} has other columns than {first}: {here} in the place of {there}; "
            "all files of a data set must have the same columns"
        )


# --- the state of the output ---------------------------------------------------------------------------


def _begun(target: Location, data: DataSet, run: Run) -> FileFiller:
    """Writes what fills the data set beside the filled files, and returns the function that does.

    Raises:
        WrongInput: The output has files of another run, or a file changed since it was filled.
    """
    earlier = _earlier(target)
    seed = run.seed
    if seed is None:
        seed = earlier["seed"] if earlier else secrets.randbits(32)
    state = {
        "model": run.loader.name,
        "version": run.loader.version,
        "seed": seed,
        **json.loads(json.dumps(asdict(run.options))),
        "files": dict(sorted({**(earlier or {}).get("files", {}), **data.sizes}.items())),
    }
    if earlier:
        _check_same(target, earlier, state)
    _remove_drafts(target)
    write_bytes(target / STATE, json.dumps(state, indent=2, ensure_ascii=False).encode() + b"\n")
    return FileFiller(run.loader, run.options, seed)


def _earlier(target: Location) -> dict[str, Any] | None:
    """State that an earlier run wrote.

    Raises:
        WrongInput: The output has files, and no state of an earlier run.
    """
    with answering(target):
        if target.files.exists((target / STATE).path):
            return dict(json.loads(target.files.cat_file((target / STATE).path)))
        if target.files.isfile(target.path):
            raise WrongInput(f"{target.address} is a file; name a folder for the filled files")
        if target.files.exists(target.path) and target.files.find(target.path):
            raise WrongInput(f"{target.address} has files of others; choose an empty folder")
    return None


def _check_same(target: Location, earlier: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    for field in state:
        if field != "files" and earlier.get(field) != state[field]:
            raise WrongInput(
                f"{target.address} was begun with {field} = {json.dumps(earlier.get(field))}, and now it is "
                f"{json.dumps(state[field])}; choose another folder, or the same options"
            )
    sizes, now = earlier["files"], state["files"]
    changed = [name for name in now if name in sizes and sizes[name] != now[name]]
    if changed:
        raise WrongInput(
            f"{changed[0]} has {now[changed[0]]} bytes, and had {sizes[changed[0]]} when "
            f"{target.address} was begun; choose another folder"
        )


def _remove_drafts(target: Location) -> None:
    """Removes what a killed run left: incomplete files, and folders of their rows."""
    with answering(target):
        for path in target.files.find(target.path):
            parts = path.removeprefix(target.path).split("/")
            if parts[-1].startswith(".") and parts[-1].endswith(".part"):
                target.files.rm_file(path)
            if len(parts) > 1 and parts[-2].startswith(".anyview-"):
                target.files.rm(path.rpartition("/")[0], recursive=True)
