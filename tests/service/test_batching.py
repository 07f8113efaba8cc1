"""One queue per graph: callers share batches, and nobody gets another's answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching import GraphQueue
from service.sessions import Array


class Doubler:
    """Doubles its rows, and waits while ``gate`` is closed."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, rows: Array) -> dict[str, Array]:
        self.batches.append(len(rows))
        assert self.gate.wait(10)
        if (rows < 0).any():
            raise ValueError("negative rows")
        return {"y": 2 * rows}


def within(graph: Doubler, most_rows: int, work: Callable[[GraphQueue], Awaitable[None]]) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(2) as executor:
            await asyncio.wait_for(work(GraphQueue(graph, executor, most_rows)), 20)

    asyncio.run(main())


def rows(start: int, count: int) -> Array:
    return np.arange(start, start + count, dtype=np.float32)[:, None]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 16))
def test_every_caller_gets_its_own_rows_in_order(sizes: list[int], most_rows: int) -> None:
    graph = Doubler()

    async def work(queue: GraphQueue) -> None:
        asked = [rows(1000 * index, size) for index, size in enumerate(sizes)]
        answers = await asyncio.gather(*(queue.run(x) for x in asked))
        for x, answer in zip(asked, answers, strict=True):
            assert np.array_equal(answer["y"], 2 * x)

    within(graph, most_rows, work)
    assert max(graph.batches) <= most_rows
    assert sum(graph.batches) == sum(sizes)


def test_callers_that_wait_while_the_graph_is_busy_share_the_next_batch() -> None:
    graph = Doubler()
    graph.gate.clear()

    async def work(queue: GraphQueue) -> None:
        calls = [asyncio.create_task(queue.run(rows(i, 1))) for i in range(9)]
        await asyncio.sleep(0.05)
        graph.gate.set()
        await asyncio.gather(*calls)

    within(graph, 64, work)
    assert graph.batches == [1, 8]


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


def test_a_cancelled_caller_costs_nothing_more_and_disturbs_nobody() -> None:
    graph = Doubler()
    graph.gate.clear()

    async def work(queue: GraphQueue) -> None:
        first = asyncio.create_task(queue.run(rows(0, 1)))
        leaving = asyncio.create_task(queue.run(rows(0, 1000)))
        staying = asyncio.create_task(queue.run(rows(5, 2)))
        await asyncio.sleep(0.05)
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
        with pytest.raises(ValueError, match="negative rows"):
            await queue.run(rows(-5, 2))
        assert np.array_equal((await queue.run(rows(1, 2)))["y"], 2 * rows(1, 2))

    within(graph, 64, work)
