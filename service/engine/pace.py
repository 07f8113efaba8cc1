"""How fast a graph is here: measured when it is loaded, so that its batches are no larger than helps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from service.engine.sessions import Array, Graph

LOOP_SECONDS = 0.5e-3
"""What takes less may run on the event loop."""
HANDOFF_SECONDS = 0.2e-3
"""What it costs to go to a thread and back; a larger batch shares it among more rows."""
MOST_ROWS = 1024
"""No batch is larger."""
LONGEST_SECONDS = 0.1
"""No batch is made larger once it takes as long: others wait meanwhile."""


@dataclass(frozen=True)
class Pace:
    """How fast a graph is here.

    Arguments:
        best_rows: The smallest batch that gets through rows nearly as fast as any.
        loop_rows: The largest batch that may run on the event loop; 0 if none may.
        rows_per_second: What it gets through in batches of the best size.
    """

    best_rows: int
    loop_rows: int = 0
    rows_per_second: float = math.inf


def measure(
    graph: Graph, example: Array, repeats: int = 3, clock: Callable[[], float] = time.perf_counter
) -> Pace:
    """Times batches of 1, 2, 4, … rows, until larger ones bring nothing; the slower first runs are over then.

    Arguments:
        graph: What runs.
        example: Rows like those that will come, at least one.
        repeats: Runs per size; the fastest counts, since a busy machine only ever adds time.
        clock: What it is timed with, in seconds.
    """
    rate: dict[int, float] = {}
    loop_rows, rows = 0, 1
    while rows <= MOST_ROWS:
        batch = np.ascontiguousarray(np.resize(example, (rows, *example.shape[1:])))
        seconds = min(_timed(graph, batch, clock) for _ in range(repeats))
        rate[rows] = rows / (seconds + HANDOFF_SECONDS)
        if seconds < LOOP_SECONDS:
            loop_rows = rows
        if seconds > LONGEST_SECONDS or rate[rows] < 1.05 * rate.get(rows // 4, 0):
            break
        rows *= 2
    best_rows = min(rows for rows in rate if rate[rows] >= 0.95 * max(rate.values()))
    return Pace(best_rows, loop_rows, rate[best_rows])


def _timed(graph: Graph, rows: Array, clock: Callable[[], float]) -> float:
    start = clock()
    graph.run(rows)
    return clock() - start
