"""Batching for one graph: rows of concurrent callers share a batch. Knows nothing of modalities.

There is no timer: a batch is the rows that wait when the graph is idle and an event-loop iteration brings no
more, up to the best size. All state lives on the event loop. ``Graph.run`` is called in a thread, unless
it is measured to take less time than the way there.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from models_store.arrays import Array
from service.engine.sessions import WATCHDOG, Graph, StoppableGraph, TooSlowForLoop
from service.errors import NotReady

Outputs = dict[str, Array]

SINGLE_CALLER_BATCHES = 8
"""After this many batches of a single caller in a row, the next one does not wait for other callers."""
LOOP_SECONDS = 0.5e-3
"""A batch that takes less may run on the event loop."""
HANDOFF_SECONDS = 0.2e-3
"""Cost of the way to a thread and back; a larger batch shares it among more rows."""
MOST_ROWS = 1024
"""Largest batch."""
TIMED_ROWS = (1, 8, 64)
"""Batches that are timed when a graph is loaded: timing all sizes takes long, and noise decided."""
LONGEST_SECONDS = 0.1
"""Batches that take longer are not enlarged: other callers wait for them."""


@dataclass(frozen=True)
class BatchSizing:
    """Sizes of the batches of a graph on this machine.

    Arguments:
        best_rows: The smallest batch with nearly the highest rate.
        inline_rows: The largest batch that may run on the event loop; 0 if none may.
        rows_per_second: Rate of batches of the best size.
    """

    best_rows: int
    inline_rows: int = 0
    rows_per_second: float = math.inf


class Receiver(Protocol):
    """Takes the outputs for some rows: a future, or an expert of a pending posterior."""

    @property
    def done(self) -> Callable[[], bool]:
        """Returns whether the outputs are no longer needed."""

    def set_result(self, result: Outputs, /) -> None:
        """Takes the outputs, in the order of the rows."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Takes the error that came instead."""


class Runner(Protocol):
    """Runs a graph for concurrent callers."""

    async def run(self, rows: Array) -> Outputs:
        """Returns the outputs for these rows, in their order."""

    def submit(self, rows: Array, receiver: Receiver) -> None:
        """Submits rows, whose outputs a receiver takes later."""

    def cancel(self, receiver: Receiver) -> None:
        """Drops this receiver's rows that no batch has taken."""

    def seconds(self, rows: int) -> float:
        """Returns the estimated seconds that the graph needs for so many rows."""


class GraphFailed(Exception):
    """A graph raised, or did not return one row per row."""


class _Job:
    """Rows of one caller, and how many of them are done.

    Arguments:
        rows: Inputs, (n, ...).
        receiver: Receiver of the outputs.
    """

    __slots__ = ("left", "missing", "pieces", "receiver", "rows")

    def __init__(self, rows: Array, receiver: Receiver) -> None:
        self.rows = rows
        self.receiver = receiver
        self.left = len(rows)
        """Rows that no batch has taken yet."""
        self.missing = len(rows)
        """Rows without outputs."""
        self.pieces: list[Outputs] = []

    def take(self, count: int) -> Array:
        start = len(self.rows) - self.left
        self.left -= count
        return self.rows[start : start + count]

    def add(self, piece: Outputs, rows: int) -> None:
        """Adds outputs; they come in the order in which rows were taken: a graph runs one batch at a time."""
        self.pieces.append(piece)
        self.missing -= rows
        if not self.missing and not self.receiver.done():
            self.receiver.set_result(_joined(self.pieces))

    def fail(self, error: BaseException) -> None:
        if not self.receiver.done():
            self.receiver.set_exception(error)


_Batch = list[tuple[_Job, Array]]


@dataclass
class Backlog:
    """Rows that wait for several graphs together."""

    rows: int = 0


class GraphQueue:
    """Batches the rows of concurrent callers.

    Arguments:
        graph: Graph to run.
        executor: Threads in which it runs.
        sizing: Sizes of its batches.
    """

    def __init__(self, graph: Graph, executor: Executor, sizing: BatchSizing) -> None:
        self._graph = graph
        self._executor = executor
        self._sizing = sizing
        self._loop: asyncio.AbstractEventLoop  # that of the callers, set by the first of them
        self._waiting: deque[_Job] = deque()
        self._suspects: deque[_Batch] = deque()
        self._busy = False
        self._gathered = 0  # rows that waited one event-loop iteration ago, while a batch is gathered
        self._single_caller = 0  # batches of a single caller in a row, up to the last
        self._since: float | None = None  # when the batch was handed to a thread
        self._running: _Batch = []  # the batch that a thread runs
        self.backlog = Backlog()
        """Total that its waiting rows are part of."""
        self.waiting_rows = 0
        """Rows that no batch has taken yet."""
        self.on_batch: Callable[[int], None] | None = None
        """Called with the number of rows of every batch."""
        self.batches = 0
        """Number of batches that have run."""

    @property
    def waiting_seconds(self) -> float:
        """Estimated seconds that the graph needs for the waiting rows."""
        return self.seconds(self.waiting_rows)

    def seconds(self, rows: int) -> float:
        """Returns the estimated seconds that the graph needs for so many rows."""
        return rows / self._sizing.rows_per_second

    def hangs(self, seconds: float) -> bool:
        """Whether the current batch was handed to the threads longer ago than this."""
        return (since := self._since) is not None and time.monotonic() - since > seconds

    async def run(self, rows: Array) -> Outputs:
        """Returns the outputs for these rows; drops them if the caller is cancelled.

        Arguments:
            rows: At least one row.

        Raises:
            NotReady: The service stops.
            GraphFailed: The graph failed on these rows.
        """
        future: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        self.submit(rows, future)
        try:
            return await future
        except asyncio.CancelledError:
            self.cancel(future)
            raise

    def submit(self, rows: Array, receiver: Receiver) -> None:
        """Submits rows for a receiver; must be called on the event loop."""
        self._waiting.append(_Job(rows, receiver))
        self._count(len(rows))
        if self._busy:
            self._single_caller = 0
            return
        self._busy = True
        self._loop = asyncio.get_running_loop()
        if self._single_caller >= SINGLE_CALLER_BATCHES:
            self._next()
        else:  # not at once: other callers in this event-loop iteration share the batch
            self._loop.call_soon(self._next)

    def cancel(self, receiver: Receiver) -> None:
        """Drops this receiver's rows that no batch has taken."""
        for job in [job for job in self._waiting if job.receiver is receiver]:
            self._drop(job)
        if self._running and all(job.receiver.done() for job, _ in self._running):
            self._stop()

    def _stop(self) -> None:
        """Ends the current run, whose outputs no caller waits for."""
        if isinstance(self._graph, StoppableGraph):
            self._graph.stop()

    def _next(self) -> None:
        """Runs a batch; then calls itself again, until no row waits."""
        if self._gathers():
            self._loop.call_soon(self._next)
            return
        batch = self._suspects.popleft() if self._suspects else list(self._fill())
        self._busy = bool(batch)
        if not batch:
            return
        self._single_caller = self._single_caller + 1 if len(batch) == 1 else 0
        try:
            rows = batch[0][1] if len(batch) == 1 else np.concatenate([piece for _, piece in batch])
            if self.on_batch is not None:
                self.on_batch(len(rows))
            if len(rows) <= self._sizing.inline_rows:
                self._deliver(batch, self._run_inline(rows))
                self._loop.call_soon(self._next)  # requests that came in the meantime are read first
                return
            running = self._loop.run_in_executor(self._executor, self._graph.run, rows)
            self._since, self._running = time.monotonic(), batch
        except TooSlowForLoop:
            self._suspects.append(batch)
            self._loop.call_soon(self._next)
            return
        except Exception as error:  # passed on to the receivers
            self._on_failure(batch, error)
            self._loop.call_soon(self._next)
            return
        running.add_done_callback(lambda done: self._finish(batch, done))

    def _run_inline(self, rows: Array) -> Outputs:
        """Runs a batch on the event loop; a watchdog ends it where it takes far longer than measured.

        Raises:
            TooSlowForLoop: It was ended; the graph runs in threads from now on.
        """
        WATCHDOG.begin(self._stop)
        try:
            return self._graph.run(rows)
        except Exception as error:
            if not WATCHDOG.struck:
                raise
            self._sizing = replace(self._sizing, inline_rows=0)
            raise TooSlowForLoop from error
        finally:
            WATCHDOG.end()

    def _gathers(self) -> bool:
        """Whether this event-loop iteration brought rows, and the batch has room for those of the next.

        Clients answered by one batch send their next requests in separate iterations, so wait one more to
        batch them again. After 8 single-caller batches, do not wait.
        """
        if self._single_caller >= SINGLE_CALLER_BATCHES and len(self._waiting) == 1:
            return False
        more = self._gathered < self.waiting_rows < self._sizing.best_rows and not self._suspects
        self._gathered = self.waiting_rows if more else 0
        return more

    def _fill(self) -> Iterator[tuple[_Job, Array]]:
        """Takes rows from the callers in turn, an equal share each, so that no caller starves."""
        room, waiting = self._sizing.best_rows, self._waiting
        while room and waiting:
            share = max(1, room // len(waiting))
            job = waiting.popleft()
            if job.receiver.done():  # cancelled in this event-loop iteration
                self._count(-job.left)
                continue
            taken = min(share, job.left)
            room -= taken
            self._count(-taken)
            piece = job.take(taken)
            if job.left:
                waiting.append(job)
            yield job, piece

    def _finish(self, batch: _Batch, done: asyncio.Future[Outputs]) -> None:
        self._since, self._running = None, []
        try:
            self._deliver(batch, done.result())
        except asyncio.CancelledError:
            self._on_failure(batch, NotReady("the service stops"))
        except BaseException as error:  # SystemExit of a graph must not end the event loop
            self._on_failure(batch, error)
        self._next()

    def _deliver(self, batch: _Batch, outputs: Outputs) -> None:
        rows = sum([len(piece) for _, piece in batch])
        self.batches += 1
        for name, value in outputs.items():
            if len(value) != rows:
                raise GraphFailed(f"'{name}' has {len(value)} rows for the {rows} that were given")
        if len(batch) == 1:
            batch[0][0].add(outputs, rows)
            return
        start = 0
        for job, piece in batch:
            stop = start + len(piece)
            job.add({name: value[start:stop] for name, value in outputs.items()}, stop - start)
            start = stop

    def _on_failure(self, batch: _Batch, error: BaseException) -> None:
        """Tries the rows of each caller alone, so that only callers with failing rows fail."""
        batch = [(job, rows) for job, rows in batch if not job.receiver.done()]
        if not batch:
            return
        if len(batch) > 1:
            self._suspects.extend([pair] for pair in batch)
            return
        (job, _) = batch[0]
        failure = error if isinstance(error, GraphFailed | NotReady) else GraphFailed(str(error))
        failure.__cause__ = None if failure is error else error
        job.fail(failure)
        if job in self._waiting:
            self._drop(job)

    def _drop(self, job: _Job) -> None:
        self._waiting.remove(job)
        self._count(-job.left)

    def _count(self, rows: int) -> None:
        self.waiting_rows += rows
        self.backlog.rows += rows


def _joined(pieces: list[Outputs]) -> Outputs:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def measure(
    graph: Graph, example: Array, repeats: int = 5, clock: Callable[[], float] = time.perf_counter
) -> BatchSizing:
    """Times batches of ``TIMED_ROWS``, and takes the times of all others from the lines through these.

    Arguments:
        graph: Graph to time.
        example: Typical input rows, at least one.
        repeats: Runs per size; the fastest counts, since a busy machine only adds time.
        clock: Clock, in seconds.
    """
    seconds: dict[int, float] = {}
    for rows in TIMED_ROWS:
        batch = np.ascontiguousarray(np.resize(example, (rows, *example.shape[1:])))
        seconds[rows] = min(_timed(graph, batch, clock) for _ in range(repeats))
        if seconds[rows] > LONGEST_SECONDS:
            break
    return _sizing(seconds)


def _timed(graph: Graph, rows: Array, clock: Callable[[], float]) -> float:
    start = clock()
    graph.run(rows)
    return clock() - start


def _sizing(seconds: Mapping[int, float]) -> BatchSizing:
    """Returns the sizes of batches of a graph, of which some were timed."""
    rate: dict[int, float] = {}
    inline_rows, rows = 0, 1
    while rows <= MOST_ROWS:
        expected = _expected_seconds(seconds, rows)
        rate[rows] = rows / (expected + HANDOFF_SECONDS)
        if expected < LOOP_SECONDS:
            inline_rows = rows
        if expected > LONGEST_SECONDS:
            break
        rows *= 2
    best_rows = min(rows for rows in rate if rate[rows] >= 0.95 * max(rate.values()))
    return BatchSizing(best_rows, inline_rows, rate[best_rows])


def _expected_seconds(seconds: Mapping[int, float], rows: int) -> float:
    """Interpolates the time of a batch; beyond the largest that was timed, the last line continues."""
    sizes, times = [0, *seconds], [0.0, *seconds.values()]
    per_row = max(0.0, (times[-1] - times[-2]) / (sizes[-1] - sizes[-2]))
    return float(np.interp(rows, sizes, times)) + per_row * max(0, rows - sizes[-1])
