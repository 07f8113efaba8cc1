"""Fills one file of a data set; each process that does so loads the model once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

from models_store.errors import ModelsStoreError
from models_store.stores import open_named, store_at
from models_store.tables.matching import read_matched
from service.engine.batching import MOST_ROWS, BatchSizing, GraphQueue
from service.engine.model import Model
from service.engine.sessions import Graph
from service.errors import Refusal, WrongInput
from service.formats.named_files import file_columns
from service.impute.addresses import fetch, locate, written
from service.impute.options import FillOptions
from service.impute.table import Counts, Filling
from service.models.loading import opened


@dataclass(frozen=True)
class ModelLoader:
    """Address of a published version.

    Arguments:
        store: Folder or address of the store.
        name: Name of the model.
        version: Its version.
    """

    store: str
    name: str
    version: int

    def load(self) -> Model:
        """Loads the model.

        Raises:
            ModelsStoreError: The store has no such version, does not answer, or the version is refused.
        """
        return opened(open_named(store_at(self.store), f"{self.name}/{self.version}"), _queue)


def _queue(graph: Graph, executor: Executor, _sizing: BatchSizing) -> GraphQueue:
    """A queue with batches of one size: measured sizes differ by process, and rounding with them."""
    return GraphQueue(graph, executor, BatchSizing(MOST_ROWS))


@dataclass(frozen=True)
class FileTask:
    """One file to fill.

    Arguments:
        name: Path in the data set.
        source: Address of the file.
        targets: Addresses of the filled file, or of one for each draw.
        rows: Number of rows.
    """

    name: str
    source: str
    targets: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class FileResult:
    """Outcome of a task.

    Arguments:
        task: The task.
        counts: Rows of the file.
        copied: Headers of columns that the model does not have.
        error: Why the file was not filled, as one sentence; None where it was.
    """

    task: FileTask
    counts: Counts
    copied: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class FileFiller:
    """Fills files. Seeds follow from the names of files, so no number depends on the process that fills one.

    Arguments:
        loader: Address of the model.
        options: Options that decide the numbers.
        seed: Seed of the data set.
    """

    loader: ModelLoader
    options: FillOptions
    seed: int

    def __call__(self, task: FileTask, show: Callable[[int], None] | None = None) -> FileResult:
        """Fills a file; its filled copy appears when it is complete.

        Arguments:
            task: The file.
            show: Called with the number of rows that are filled.
        """
        try:
            return self._filled(task, show or _ignored)
        except (Refusal, ModelsStoreError, OSError) as error:
            sentence = str(error)
            named = sentence if task.source in sentence else f"{task.source}: {sentence}"
            return FileResult(task, Counts(), error=named)

    def _filled(self, task: FileTask, show: Callable[[int], None]) -> FileResult:
        model, source = _model(self.loader), locate(task.source)
        with TemporaryDirectory(prefix="anyview-") as folder:
            file = fetch(source, Path(folder))
            table = read_matched(model.manifest, file, self.options.keep, task.source)
            if not source.is_local and file_columns(model.manifest, table.headers):
                raise WrongInput("a column names files, which are read beside local tables alone")
            seed = seed_of(self.seed, task.name)
            filling = Filling(model, table, file.parent, self.options, seed)
            with written([locate(target) for target in task.targets], Path(folder)) as drafts:
                counts = asyncio.run(filling.write(drafts, task.name, mark=True, show=show))
        return FileResult(task, counts, tuple(filling.copied))


def _ignored(_rows: int) -> None:
    """Shows nothing."""


def seed_of(seed: int, name: str) -> int:
    """Seed of the draws of a file: 63 bits of a hash of the data set's seed and the file's name in it."""
    return int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()) >> 1


@lru_cache(maxsize=1)
def _model(loader: ModelLoader) -> Model:
    return loader.load()
