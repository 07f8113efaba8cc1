"""One queue per graph: rows of whoever waits share a batch. Knows nothing of modalities.

There is no timer: a batch is whatever waits when the graph falls free and a turn of the event loop brings
no more, up to its best size. All state lives on the event loop; ``Graph.run`` happens in a thread, unless
it is known to take less time than going there.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from service.engine.pace import Pace
from service.engine.sessions import Array, Graph
from service.engine.workers import WorkerLost

Outputs = dict[str, Array]

USUALLY = 8
"""After so many batches of a single caller, the next is not waited for."""


class Receiver(Protocol):
    """Who gets the outputs for some rows: a future, or what makes one answer of several."""

    def done(self) -> bool:
        """Whether nobody wants them any more."""

    def set_result(self, result: Outputs, /) -> None:
        """Takes them, in the order of the rows."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Learns why there are none."""


class Runner(Protocol):
    """Whatever answers for a graph."""

    async def run(self, rows: Array) -> Outputs:
        """The outputs for these rows, in their order."""

    def ask(self, rows: Array, receiver: Receiver) -> None:
        """The same for a receiver, later."""

    def forget(self, receiver: Receiver) -> None:
        """Spares itself what that one was to get."""


class GraphFailed(Exception):
    """A graph raised, or gave something else than a row per row."""


class _Job:
    """The rows of one caller, and where they stand.

    Arguments:
        rows: What was asked.
        receiver: Who gets the outputs.
    """

    __slots__ = ("left", "missing", "pieces", "receiver", "rows")

    def __init__(self, rows: Array, receiver: Receiver) -> None:
        self.rows = rows
        self.receiver = receiver
        self.left = len(rows)
        """Rows that no batch has taken yet."""
        self.missing = len(rows)
        """Rows without an answer."""
        self.pieces: list[Outputs] = []

    def take(self, count: int) -> Array:
        start = len(self.rows) - self.left
        self.left -= count
        return self.rows[start : start + count]

    def add(self, piece: Outputs, rows: int) -> None:
        """Pieces come back in the order in which they were taken, since a graph runs one batch at a time."""
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
    """How much waits for several graphs together."""

    rows: int = 0


class GraphQueue:
    """Batches the rows of concurrent callers.

    Arguments:
        graph: What runs.
        executor: The threads in which it does.
        pace: How large its batches are best.
    """

    def __init__(self, graph: Graph, executor: Executor, pace: Pace) -> None:
        self._graph = graph
        self._executor = executor
        self._pace = pace
        self._loop: asyncio.AbstractEventLoop  # that of the callers, once there is one
        self._waiting: deque[_Job] = deque()
        self._suspects: deque[_Batch] = deque()
        self._busy = False
        self._gathered = 0  # rows that waited a turn of the loop ago, while a batch is gathered
        self._alone = 0  # how many batches, up to the last, were one caller's
        self._since: float | None = None  # when the batch was handed to a thread
        self.backlog = Backlog()
        """What its waiting rows are a part of."""
        self.waiting_rows = 0
        """Rows that no batch has taken yet."""
        self.on_batch: Callable[[int], None] | None = None
        """Called with the size of every batch."""
        self.batches = 0
        """How many have run."""

    @property
    def waiting_seconds(self) -> float:
        """About how long the graph needs for them."""
        return self.waiting_rows / self._pace.rows_per_second

    def hangs(self, seconds: float) -> bool:
        """Whether its batch has been in a thread, or waited for one, for longer than that."""
        return (since := self._since) is not None and time.monotonic() - since > seconds

    async def run(self, rows: Array) -> Outputs:
        """The outputs for these rows; a caller that is cancelled costs nothing more.

        Arguments:
            rows: At least one row.

        Raises:
            WorkerLost: A thread died, or the service stops.
            GraphFailed: It did, on these very rows.
        """
        future: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        self.ask(rows, future)
        try:
            return await future
        except asyncio.CancelledError:
            self.forget(future)
            raise

    def ask(self, rows: Array, receiver: Receiver) -> None:
        """The same, for a receiver; to be called on the event loop."""
        self._waiting.append(_Job(rows, receiver))
        self._count(len(rows))
        if not self._busy:
            self._busy = True
            self._loop = asyncio.get_running_loop()
            # Not at once: whoever else is about to ask in this turn of the loop shares the batch.
            self._loop.call_soon(self._next)

    def forget(self, receiver: Receiver) -> None:
        """Takes out of the queue what a receiver does not want any more."""
        for job in [job for job in self._waiting if job.receiver is receiver]:
            self._drop(job)

    def _next(self) -> None:
        """Runs what waits; afterwards calls itself again, until nothing does."""
        if self._gathers():
            self._loop.call_soon(self._next)
            return
        batch = self._suspects.popleft() if self._suspects else list(self._fill())
        self._busy = bool(batch)
        if not batch:
            return
        self._alone = self._alone + 1 if len(batch) == 1 else 0
        try:
            rows = batch[0][1] if len(batch) == 1 else np.concatenate([piece for _, piece in batch])
            if self.on_batch is not None:
                self.on_batch(len(rows))
            if len(rows) <= self._pace.loop_rows:
                self._deliver(batch, self._graph.run(rows))
                self._loop.call_soon(self._next)  # requests that came meanwhile are read first
                return
            running = self._loop.run_in_executor(self._executor, self._graph.run, rows)
            self._since = time.monotonic()
        except Exception as error:  # whatever it is belongs to those who wait for it
            self._on_failure(batch, error)
            self._loop.call_soon(self._next)
            return
        running.add_done_callback(lambda done: self._finish(batch, done))

    def _gathers(self) -> bool:
        """Whether this turn of the loop brought rows, and the batch has room for those of the next.

        Callers who had their answers together come back one after the other, each in a turn of its own;
        a batch for the first of them alone would keep all others waiting. Who has been alone for a while
        waits for nobody.
        """
        if self._alone >= USUALLY and len(self._waiting) == 1:
            return False
        more = self._gathered < self.waiting_rows < self._pace.best_rows and not self._suspects
        self._gathered = self.waiting_rows if more else 0
        return more

    def _fill(self) -> Iterator[tuple[_Job, Array]]:
        """Takes rows from the callers in turn, an equal share each, so that nobody starves."""
        room, waiting = self._pace.best_rows, self._waiting
        while room and waiting:
            share = max(1, room // len(waiting))
            job = waiting.popleft()
            if job.receiver.done():  # cancelled in this turn of the loop
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
        self._since = None
        try:
            self._deliver(batch, done.result())
        except Exception as error:
            self._on_failure(batch, error)
        self._next()

    def _deliver(self, batch: _Batch, outputs: Outputs) -> None:
        rows = sum(len(piece) for _, piece in batch)
        self.batches += 1
        for name, value in outputs.items():
            if len(value) != rows:
                raise GraphFailed(f"'{name}' has {len(value)} rows for the {rows} that were given")
        start = 0
        for job, piece in batch:
            stop = start + len(piece)
            job.add({name: value[start:stop] for name, value in outputs.items()}, stop - start)
            start = stop

    def _on_failure(self, batch: _Batch, error: Exception) -> None:
        """Tries the rows of each caller alone, so that only those fail whose rows do.

        If a thread is gone, all who wait fail: nothing says that another one works.
        """
        lost = isinstance(error, WorkerLost)
        if len(batch) > 1 and not lost:
            self._suspects.extend([pair] for pair in batch)
            return
        failing = {job for job, _ in batch}
        failure = error if lost or isinstance(error, GraphFailed) else GraphFailed(str(error))
        failure.__cause__ = None if failure is error else error
        if lost:
            failing.update(self._waiting, (job for pairs in self._suspects for job, _ in pairs))
            self._suspects.clear()
        for job in failing:
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
