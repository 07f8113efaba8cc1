"""One queue per graph: rows of whoever waits share a batch. Knows nothing of modalities.

There is no timer: a batch is whatever waits when the graph falls free, up to its best size. All state
lives on the event loop; only ``Graph.run`` happens in a thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from service.sessions import Array, Graph

Outputs = dict[str, Array]


class Runner(Protocol):
    """Whatever answers for a graph."""

    async def run(self, rows: Array) -> Outputs:
        """The outputs for these rows, in their order."""


@dataclass(eq=False)
class _Job:
    """The rows of one caller: where they stand, and the future that the caller awaits."""

    rows: Array
    future: asyncio.Future[Outputs]
    taken: int = 0
    pieces: list[Outputs] = field(default_factory=list)

    @property
    def left(self) -> int:
        return len(self.rows) - self.taken

    def take(self, count: int) -> Array:
        piece = self.rows[self.taken : self.taken + count]
        self.taken += len(piece)
        return piece

    def add(self, piece: Outputs) -> None:
        """Pieces come back in the order in which they were taken, since a graph runs one batch at a time."""
        self.pieces.append(piece)
        done = sum(len(next(iter(piece.values()))) for piece in self.pieces)
        if done == len(self.rows) and not self.future.done():
            self.future.set_result(_joined(self.pieces))


class GraphQueue:
    """Batches the rows of concurrent callers.

    Arguments:
        graph: What runs.
        executor: The threads in which it does.
        most_rows: The largest batch.
    """

    def __init__(self, graph: Graph, executor: Executor, most_rows: int) -> None:
        self._graph = graph
        self._executor = executor
        self._most_rows = most_rows
        self._waiting: deque[_Job] = deque()
        self._busy = False

    async def run(self, rows: Array) -> Outputs:
        """The outputs for these rows; a caller that is cancelled costs nothing more.

        Arguments:
            rows: At least one row.
        """
        job = _Job(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._start()
        return await job.future

    def _start(self) -> None:
        batch = [] if self._busy else list(self._fill())
        if not batch:
            return
        self._busy = True
        rows = batch[0][1] if len(batch) == 1 else np.concatenate([piece for _, piece in batch])
        running = asyncio.get_running_loop().run_in_executor(self._executor, self._graph.run, rows)
        running.add_done_callback(lambda done: self._finish(batch, done))

    def _fill(self) -> Iterator[tuple[_Job, Array]]:
        """Takes rows from the callers in turn, an equal share each, so that nobody starves."""
        room = self._most_rows
        while room and self._waiting:
            share = max(1, room // len(self._waiting))
            job = self._waiting.popleft()
            if job.future.done():  # cancelled, or failed with an earlier piece
                continue
            piece = job.take(min(share, job.left))
            room -= len(piece)
            if job.left:
                self._waiting.append(job)
            yield job, piece

    def _finish(self, batch: list[tuple[_Job, Array]], done: asyncio.Future[Outputs]) -> None:
        self._busy = False
        error = done.exception()
        start = 0
        for job, piece in batch:
            if error is None:
                stop = start + len(piece)
                job.add({name: value[start:stop] for name, value in done.result().items()})
                start = stop
            elif not job.future.done():
                job.future.set_exception(error)
        self._start()


def _joined(pieces: list[Outputs]) -> Outputs:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
