"""One queue per graph: callers share batches, and each gets the outputs of its rows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_store.arrays import Array
from service.engine.batching import (
    LOOP_SECONDS,
    SINGLE_CALLER_BATCHES,
    BatchSizing,
    GraphFailed,
    GraphQueue,
    measure,
)
from service.engine.workers import Workers
from service.errors import NotReady


class Doubler:
    """Doubles its rows, and waits while ``gate`` is closed."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, rows: Array) -> dict[str, Array]:
        self.batches.append(len(rows))
        assert self.gate.wait(60)
        if (rows == KILLS).any():
            raise SystemExit
        if (rows == CANCELS).any():
            raise CancelledError
        if (rows < 0).any():
            raise ValueError("negative rows")
        if (rows == SHORTENS).any():
            return {"y": rows[1:]}
        return {"y": 2 * rows}


KILLS, SHORTENS, CANCELS = 9_000_000, 9_100_000, 9_200_000


class Timed:
    """A graph with a clock of its own, on which a batch takes a fixed time, and a time per row."""

    def __init__(self, per_batch: float, per_row: float) -> None:
        self._per_batch, self._per_row = per_batch, per_row
        self._now = 0.0

    def run(self, rows: Array) -> dict[str, Array]:
        self._now += self._per_batch + self._per_row * len(rows)
        return {"y": rows}

    def clock(self) -> float:
        return self._now

    def measure(self, example: Array) -> BatchSizing:
        return measure(self, example, clock=self.clock)


def within(
    graph: Doubler,
    sizing: int | BatchSizing,
    work: Callable[[GraphQueue], Awaitable[None]],
    workers: Workers | None = None,
) -> None:
    """Does the work, on a queue whose largest batch, or sizing, is given; fails if it hangs."""
    batch_sizing = BatchSizing(sizing) if isinstance(sizing, int) else sizing

    async def main() -> None:
        with workers or Workers(2) as executor:
            await asyncio.wait_for(work(GraphQueue(graph, executor, batch_sizing)), 60)

    asyncio.run(main())


async def entered(graph: Doubler, batches: int = 1) -> None:
    """Waits until so many batches have reached the graph."""
    while len(graph.batches) < batches:
        await asyncio.sleep(0.001)


def rows(start: int, count: int) -> Array:
    return np.arange(start, start + count, dtype=np.float32)[:, None]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 16), st.integers(0, 16))
def test_every_caller_gets_its_own_rows_in_order(sizes: list[int], most_rows: int, inline_rows: int) -> None:
    graph = Doubler()

    async def work(queue: GraphQueue) -> None:
        inputs = [rows(1000 * index, size) for index, size in enumerate(sizes)]
        answers = await asyncio.gather(*(queue.run(x) for x in inputs))
        for x, answer in zip(inputs, answers, strict=True):
            assert np.array_equal(answer["y"], 2 * x)

    within(graph, BatchSizing(most_rows, inline_rows), work)
    assert max(graph.batches) <= most_rows
    assert sum(graph.batches) == sum(sizes)


@pytest.mark.parametrize(("callers", "most_rows", "batches"), [(6, 16, [6]), (6, 4, [4, 2]), (1, 16, [1])])
def test_callers_of_successive_iterations_share_batches(
    callers: int, most_rows: int, batches: list[int]
) -> None:
    graph = Doubler()

    async def work(queue: GraphQueue) -> None:
        async def ask(iteration: int) -> None:
            for _ in range(iteration):
                await asyncio.sleep(0)
            await queue.run(rows(iteration, 1))

        await asyncio.gather(*map(ask, range(callers)))

    within(graph, BatchSizing(most_rows, inline_rows=16), work)
    assert graph.batches == batches


def test_a_single_caller_is_not_delayed_for_others() -> None:
    """Its batch runs at once, until a second caller comes in the same event-loop iteration."""
    iterations: list[int] = []

    async def counted(queue: GraphQueue) -> None:
        call, count = asyncio.create_task(queue.run(rows(0, 1))), 0
        while not call.done():
            await asyncio.sleep(0)
            count += 1
        iterations.append(count)

    async def work(queue: GraphQueue) -> None:
        for _ in range(SINGLE_CALLER_BATCHES + 1):
            await counted(queue)
        await asyncio.gather(queue.run(rows(0, 1)), queue.run(rows(1, 1)))
        await counted(queue)

    within(Doubler(), BatchSizing(16, inline_rows=16), work)
    first = iterations[0]
    assert first > 1
    assert iterations == [first] * SINGLE_CALLER_BATCHES + [1, first]


def test_callers_that_wait_while_the_graph_is_busy_share_the_next_batch() -> None:
    graph = Doubler()
    graph.gate.clear()

    async def work(queue: GraphQueue) -> None:
        calls = [asyncio.create_task(queue.run(rows(0, 1)))]
        await entered(graph)
        calls += [asyncio.create_task(queue.run(rows(i, 1))) for i in range(8)]
        await asyncio.sleep(0)  # the calls reach the queue
        graph.gate.set()
        await asyncio.gather(*calls)

    within(graph, 64, work)
    assert graph.batches == [1, 8]


@pytest.mark.parametrize("sizing", [BatchSizing(64), BatchSizing(64, 64)], ids=["in a thread", "on the loop"])
def test_callers_of_one_event_loop_iteration_share_a_batch(sizing: BatchSizing) -> None:
    graph = Doubler()

    async def work(queue: GraphQueue) -> None:
        await asyncio.gather(*(queue.run(rows(i, 2)) for i in range(5)))

    within(graph, sizing, work)
    assert graph.batches == [10]


def test_what_is_quick_runs_on_the_loop_and_the_rest_in_a_thread() -> None:
    where: dict[int, str] = {}

    class Noting(Doubler):
        def run(self, rows: Array) -> dict[str, Array]:
            where[len(rows)] = threading.current_thread().name
            return super().run(rows)

    async def work(queue: GraphQueue) -> None:
        await queue.run(rows(0, 4))
        await queue.run(rows(0, 5))

    within(Noting(), BatchSizing(64, 4), work)
    assert where[4] == threading.current_thread().name
    assert where[5].startswith("graph-")


def test_a_caller_with_many_rows_does_not_starve_one_with_few() -> None:
    graph = Doubler()
    order: list[str] = []

    async def work(queue: GraphQueue) -> None:
        async def call(name: str, count: int) -> None:
            await queue.run(rows(0, count))
            order.append(name)

        await asyncio.gather(call("many", 5000), call("few", 3))

    within(graph, 16, work)
    assert order == ["few", "many"]


def test_a_cancelled_caller_costs_nothing_more_and_disturbs_no_other() -> None:
    graph = Doubler()
    graph.gate.clear()

    async def work(queue: GraphQueue) -> None:
        first = asyncio.create_task(queue.run(rows(0, 1)))
        await entered(graph)
        leaving = asyncio.create_task(queue.run(rows(0, 1000)))
        staying = asyncio.create_task(queue.run(rows(5, 2)))
        await asyncio.sleep(0)  # the calls reach the queue
        leaving.cancel()
        graph.gate.set()
        assert np.array_equal((await staying)["y"], 2 * rows(5, 2))
        assert np.array_equal((await first)["y"], 2 * rows(0, 1))
        with pytest.raises(asyncio.CancelledError):
            await leaving

    within(graph, 64, work)
    assert sum(graph.batches) == 3


def test_a_batch_that_fails_fails_its_own_rows_only() -> None:
    graph = Doubler()

    async def work(queue: GraphQueue) -> None:
        with pytest.raises(GraphFailed, match="negative rows"):
            await queue.run(rows(-5, 2))
        assert np.array_equal((await queue.run(rows(1, 2)))["y"], 2 * rows(1, 2))

    within(graph, 64, work)


@pytest.mark.parametrize("sizing", [BatchSizing(64), BatchSizing(64, 64)], ids=["in a thread", "on the loop"])
def test_a_graph_that_loses_a_row_fails_rather_than_shift_the_others(sizing: BatchSizing) -> None:
    async def work(queue: GraphQueue) -> None:
        calls = [queue.run(rows(start, 2)) for start in (SHORTENS, 5)]
        short, whole = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(short, GraphFailed)
        assert str(short) == "'y' has 1 rows for the 2 that were given"
        assert not isinstance(whole, BaseException)
        assert np.array_equal(whole["y"], 2 * rows(5, 2))

    within(Doubler(), sizing, work)


@pytest.mark.parametrize(
    "sizing",
    [BatchSizing(64), BatchSizing(64, 64), BatchSizing(3)],
    ids=["in a thread", "on the loop", "pieces"],
)
def test_who_shares_a_batch_with_rows_that_fail_does_not_fail(sizing: BatchSizing) -> None:
    async def work(queue: GraphQueue) -> None:
        sound = [rows(10 * index, index) for index in range(1, 6)]
        calls = [queue.run(x) for x in [rows(-5, 4), *sound, rows(-1, 1)]]
        first, *answers, last = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(first, GraphFailed)
        assert isinstance(last, GraphFailed)
        for x, answer in zip(sound, answers, strict=True):
            assert not isinstance(answer, BaseException)
            assert np.array_equal(answer["y"], 2 * x)
        assert queue.waiting_rows == 0

    within(Doubler(), sizing, work)


def test_rows_that_do_not_fit_together_are_computed_apart() -> None:
    async def work(queue: GraphQueue) -> None:
        wide = np.ones((2, 3), np.float32)
        one, other = await asyncio.gather(queue.run(rows(5, 1)), queue.run(wide))
        assert np.array_equal(one["y"], 2 * rows(5, 1))
        assert np.array_equal(other["y"], 2 * wide)

    within(Doubler(), 64, work)


def test_waiting_rows_are_those_that_no_batch_has_taken() -> None:
    graph = Doubler()
    graph.gate.clear()

    async def work(queue: GraphQueue) -> None:
        calls = [asyncio.create_task(queue.run(rows(0, 10)))]
        await entered(graph)
        assert queue.waiting_rows == 6
        calls += [asyncio.create_task(queue.run(rows(0, count))) for count in (20, 30)]
        await asyncio.sleep(0)  # the calls reach the queue
        assert queue.waiting_rows == 56
        assert queue.waiting_seconds == 56 / 8
        calls[1].cancel()
        await asyncio.sleep(0)  # the cancellation reaches the queue
        assert queue.waiting_rows == 36
        graph.gate.set()
        await asyncio.gather(*calls, return_exceptions=True)
        assert queue.waiting_rows == 0

    within(graph, BatchSizing(4, rows_per_second=8), work)


@pytest.mark.parametrize("start", [KILLS, CANCELS])
def test_a_graph_that_would_end_its_thread_fails_its_own_rows_only(start: int) -> None:
    async def work(queue: GraphQueue) -> None:
        for _ in range(3):  # more often than there are threads
            with pytest.raises((GraphFailed, NotReady)):
                await queue.run(rows(start, 1))
        assert np.array_equal((await queue.run(rows(5, 2)))["y"], 2 * rows(5, 2))

    within(Doubler(), 64, work)


def test_stopping_the_threads_finishes_what_runs_and_fails_what_waits() -> None:
    graph = Doubler()
    workers = Workers(1)

    async def work(queue: GraphQueue) -> None:
        graph.gate.clear()
        running = asyncio.create_task(queue.run(rows(1, 1)))
        await entered(graph)
        other = GraphQueue(graph, workers, BatchSizing(64))
        waiting = [asyncio.create_task(q.run(rows(2, 1))) for q in (queue, other)]
        await asyncio.sleep(0)  # the calls reach the queue
        while other.waiting_rows:  # until its batch waits for the thread
            await asyncio.sleep(0)
        workers.shutdown(wait=False)
        graph.gate.set()
        assert np.array_equal((await running)["y"], 2 * rows(1, 1))
        for call in waiting:
            with pytest.raises(NotReady):
                await call
        with pytest.raises(NotReady):
            await queue.run(rows(3, 1))

    within(graph, 64, work, workers)


def test_the_best_batch_of_a_graph_that_costs_per_batch_is_large_and_else_small() -> None:
    example = np.zeros((1, 3), np.float32)
    assert Timed(10e-3, 0).measure(example).best_rows >= 512
    assert Timed(0, 5e-3).measure(example).best_rows <= 8


def test_only_what_is_quick_may_run_on_the_loop() -> None:
    example = np.zeros((2, 3), np.float32)
    assert Timed(2 * LOOP_SECONDS, 0).measure(example).inline_rows == 0
    assert Timed(LOOP_SECONDS / 2, 0).measure(example).inline_rows >= 1
