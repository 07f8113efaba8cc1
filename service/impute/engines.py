"""Engines that fill the files of a data set: this process, several processes, or Ray."""

from __future__ import annotations

import logging
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import Any

from service.errors import NotReady, WrongInput
from service.impute.files import FileResult, FileTask
from service.impute.table import Counts

Fill = Callable[..., FileResult]
"""Fills the file of a task; in this process it is called with a receiver of numbers of filled rows, too."""
RETRIES = 3
"""Times that Ray fills a file again whose worker or machine was lost."""


@dataclass(frozen=True)
class Engine:
    """An engine.

    Arguments:
        name: ``local`` or ``ray``.
        workers: Files that are filled at a time; None: one, or with Ray its CPUs.
    """

    name: str = "local"
    workers: int | None = None

    def results(
        self, fill: Fill, tasks: Sequence[FileTask], show: Callable[[int], None]
    ) -> Iterator[FileResult]:
        """Yields the result of each task when it is complete.

        Arguments:
            fill: Function that fills a file.
            tasks: Files to fill.
            show: Called with the number of filled rows of the current file where one is filled at a time.

        Raises:
            WrongInput: Ray is not installed.
            NotReady: A worker was lost.
        """
        if self.name == "ray":
            return _by_ray(fill, tasks, self.workers)
        if (self.workers or 1) > 1:
            return _by_processes(fill, tasks, self.workers or 1)
        return (fill(task, show) for task in tasks)


def _by_processes(fill: Fill, tasks: Sequence[FileTask], workers: int) -> Iterator[FileResult]:
    # A forked process would inherit the locks of the threads of onnxruntime and DuckDB.
    pool = ProcessPoolExecutor(min(workers, len(tasks)), multiprocessing.get_context("spawn"))
    try:
        for future in as_completed([pool.submit(fill, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool:
        raise NotReady(
            "a worker was killed, perhaps for its memory; run the command again to resume"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _by_ray(fill: Fill, tasks: Sequence[FileTask], workers: int | None) -> Iterator[FileResult]:
    """Fills files by Ray Data, whose rows are the indices of files, and after the mapping their results."""
    ray = _ray()
    indices, compute = ray.data.range(len(tasks), override_num_blocks=len(tasks)), ray.data.TaskPoolStrategy
    with warnings.catch_warnings():
        # max_retries has no other place; a task is repeated without end by default.
        warnings.simplefilter("ignore", DeprecationWarning)
        options = {"compute": compute(size=workers), "num_cpus": 1, "max_retries": RETRIES}
        filled = indices.map(partial(_fill_row, fill, tasks), **options)
    try:
        for row in filled.iter_rows():
            counts = Counts(row["rows"], row["unobserved"])
            yield FileResult(tasks[row["file"]], counts, tuple(row["copied"]), row["error"] or None)
    except ray.exceptions.RayTaskError:
        raise  # an error of the task itself, which no repetition mends
    except ray.exceptions.RayError as error:
        raise NotReady(f"Ray lost a worker: {str(error).splitlines()[0]}; run again to resume") from None


def _fill_row(fill: Fill, tasks: Sequence[FileTask], row: Mapping[str, int]) -> dict[str, Any]:
    """Fills the file with this index."""
    result = fill(tasks[row["id"]])
    return {"file": row["id"], **vars(result.counts), "copied": result.copied, "error": result.error or ""}


def _ray() -> Any:
    """Ray, connected to the cluster at RAY_ADDRESS; without one, a Ray of this machine alone.

    Raises:
        WrongInput: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise WrongInput("--engine ray needs Ray: pip install 'anyview[ray]'") from None
    # The command has a progress bar of its own, in rows instead of files.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False)
    else:
        ray.init("local", _node_ip_address="127.0.0.1", include_dashboard=False, log_to_driver=False)
    return ray
