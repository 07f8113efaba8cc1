"""Questions gather their experts: each has the posterior that it would have alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_store.arrays import Array
from service.engine import posteriors as posteriors_module
from service.engine.batching import SINGLE_CALLER_BATCHES, BatchSizing, GraphFailed, GraphQueue
from service.engine.fusing import Expert, FusionRequest, FusionResult
from service.engine.observations import Column
from service.engine.posteriors import IterationBatcher, Posteriors, fuse
from service.engine.workers import FEW, Workers

DIMENSION = 4
SIGNS = {"left": 1, "right": -1}
NAMES = tuple(SIGNS)
Queues = Mapping[str, GraphQueue]


class Encoder:
    """Experts that are a function of the row; waits for ``gate``, and fails at rows below 0."""

    def __init__(self, sign: int, gate: threading.Event) -> None:
        self._sign = sign
        self._gate = gate
        self.batches: list[int] = []

    def run(self, rows: Array) -> dict[str, Array]:
        self.batches.append(len(rows))
        assert self._gate.wait(60)
        if (rows < 0).any():
            raise ValueError("negative rows")
        mu = self._sign * rows * np.arange(1, DIMENSION + 1, dtype=np.float32)
        return {"mu": mu, "log_var": -np.abs(mu) / 10}


def open_gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


def asking(
    work: Callable[[Posteriors, Queues], Awaitable[None]],
    inline_rows: int = 0,
    gate: threading.Event | None = None,
) -> dict[str, Encoder]:
    """Does the work on a model of two encoders, and gives them back; fails if it hangs."""
    gate = gate or open_gate()
    graphs = {name: Encoder(sign, gate) for name, sign in SIGNS.items()}

    async def main() -> None:
        with Workers(2) as threads:
            queues = {
                name: GraphQueue(graph, threads, BatchSizing(64, inline_rows))
                for name, graph in graphs.items()
            }
            await asyncio.wait_for(work(Posteriors(queues, DIMENSION), queues), 60)

    asyncio.run(main())
    return graphs


def column(start: int, present: list[bool] | int) -> Column:
    if isinstance(present, int):
        return Column(np.arange(start, start + present, dtype=np.float32)[:, None])
    mask = np.array(present)
    return Column(np.arange(start, start + len(mask), dtype=np.float32)[:, None], mask)


def alone(columns: Mapping[str, Column], fusing: FusionRequest) -> FusionResult:
    """What a question gets whose experts are computed by hand."""
    experts = {}
    for name, sent in columns.items():
        outputs = Encoder(SIGNS[name], open_gate()).run(sent.values[sent.present])
        experts[name] = Expert(outputs["mu"], outputs["log_var"], sent.present)
    return fuse(NAMES, DIMENSION, [fusing._replace(experts=experts)])[0]


@st.composite
def questions(draw: st.DrawFn) -> tuple[dict[str, Column], FusionRequest]:
    """Any subset of the modalities, any of whose rows may be missing; of some, the answer is large."""
    n = draw(st.integers(1, 5))
    names = draw(st.sets(st.sampled_from(NAMES)))
    masks = st.one_of(st.just(n), st.lists(st.booleans(), min_size=n, max_size=n))
    columns = {name: column(draw(st.integers(0, 50)), draw(masks)) for name in sorted(names)}
    draws = draw(st.sampled_from((0, 1, 3, FEW // DIMENSION)))
    mean = not draws or draw(st.booleans())  # none are drawn for a mean alone
    return columns, FusionRequest({}, n, draws, seed=draw(st.integers(0, 9)), return_mean=mean)


@given(st.lists(questions(), min_size=1, max_size=8), st.sampled_from((0, 64)))
def test_each_has_the_posterior_that_it_has_alone(
    requests: list[tuple[dict[str, Column], FusionRequest]], inline_rows: int
) -> None:
    async def work(posteriors: Posteriors, _: Queues) -> None:
        answers = await asyncio.gather(*(posteriors.of(*question) for question in requests))
        for answer, (columns, fusing) in zip(answers, requests, strict=True):
            expected = alone(columns, fusing._replace(experts={}))
            assert np.array_equal(answer.mu, expected.mu)
            assert np.array_equal(answer.log_var, expected.log_var)
            assert np.array_equal(answer.z, expected.z)

    # the experts are put into the questions, which hypothesis may show once more
    requests = [(columns, fusing._replace(experts={})) for columns, fusing in requests]
    asking(work, inline_rows)


def test_who_leaves_takes_along_the_rows_that_wait_for_any_encoder() -> None:
    gate = threading.Event()

    async def work(posteriors: Posteriors, queues: Queues) -> None:
        both = {name: column(0, 3) for name in NAMES}
        staying = asyncio.create_task(posteriors.of(both, FusionRequest({}, 3, 1, 1)))
        await asyncio.sleep(0)  # its rows reach the queues
        while any(queue.waiting_rows for queue in queues.values()):  # until they are in the threads
            await asyncio.sleep(0)
        leaving = asyncio.create_task(posteriors.of(both, FusionRequest({}, 3, 1, 1)))
        await asyncio.sleep(0)
        assert [queue.waiting_rows for queue in queues.values()] == [3, 3]
        leaving.cancel()
        await asyncio.wait([leaving])
        assert [queue.waiting_rows for queue in queues.values()] == [0, 0]
        gate.set()
        assert np.array_equal((await staying).mu, alone(both, FusionRequest({}, 3, 1, 1)).mu)

    graphs = asking(work, gate=gate)
    assert [graph.batches for graph in graphs.values()] == [[3], [3]]


def test_an_encoder_that_fails_fails_those_whose_rows_it_had() -> None:
    async def work(posteriors: Posteriors, queues: Queues) -> None:
        failing = posteriors.of({"left": column(-5, 2), "right": column(5, 2)}, FusionRequest({}, 2, 1, 1))
        other = posteriors.of({"left": column(5, 2)}, FusionRequest({}, 2, 1, 1))
        outcomes: list[object] = [*await asyncio.gather(failing, other, return_exceptions=True)]
        failed, answered = outcomes
        assert isinstance(failed, GraphFailed)
        assert str(failed) == "negative rows"
        assert isinstance(answered, FusionResult)
        assert [queue.waiting_rows for queue in queues.values()] == [0, 0]

    asking(work)


def test_a_modality_that_no_row_has_asks_no_encoder() -> None:
    async def work(posteriors: Posteriors, _: Queues) -> None:
        answer = await posteriors.of(
            {"left": column(1, [False, False]), "right": column(1, 2)}, FusionRequest({}, 2, 1, 1)
        )
        only = await posteriors.of({"right": column(1, 2)}, FusionRequest({}, 2, 1, 1))
        assert np.array_equal(answer.mu, only.mu)

    graphs = asking(work)
    assert graphs["left"].batches == []


def test_no_thread_begins_to_fuse_a_cancelled_request(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, seeds = threading.Event(), list[int]()

    def noted(
        names: Sequence[str], dimension: int, requests: Sequence[FusionRequest], **places: Any
    ) -> list[FusionResult]:
        seeds.extend(one.seed for one in requests)
        return fuse(names, dimension, requests, **places)

    async def work(posteriors: Posteriors, _: Queues) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, gate.wait, 60)
        leaving, staying = (
            asyncio.create_task(posteriors.of({}, FusionRequest({}, FEW, 1, seed))) for seed in (1, 2)
        )
        await asyncio.sleep(0)  # until they wait for the thread
        leaving.cancel()
        await asyncio.wait([leaving])
        gate.set()
        await asyncio.gather(busy, staying)
        assert seeds == [2]

    monkeypatch.setattr(posteriors_module, "fuse", noted)
    asking(work)


def test_the_function_is_not_called_once_all_requests_are_cancelled() -> None:
    calls: list[Sequence[int]] = []

    def answer(questions: Sequence[int]) -> Sequence[int]:
        calls.append(questions)
        return questions

    async def main() -> None:
        loop = asyncio.get_running_loop()
        batcher, leaving, staying = IterationBatcher(answer), loop.create_future(), loop.create_future()
        batcher.submit(1, leaving)
        leaving.cancel()
        await asyncio.sleep(0)
        batcher.submit(2, staying)
        await staying

    asyncio.run(main())
    assert calls == [[2]]


def test_requests_that_come_alone_are_answered_at_once_until_two_come_together() -> None:
    calls: list[int] = []

    def answer(questions: Sequence[int]) -> Sequence[int]:
        calls.append(len(questions))
        return questions

    async def main() -> None:
        batcher, loop = IterationBatcher(answer), asyncio.get_running_loop()

        async def ask(number: int) -> list[bool]:
            futures = [loop.create_future() for _ in range(number)]
            for future in futures:
                batcher.submit(0, future)
            at_once = [future.done() for future in futures]
            await asyncio.gather(*futures)
            await asyncio.sleep(0)  # the next ones come in another iteration
            return at_once

        waited = [(await ask(1))[0] for _ in range(SINGLE_CALLER_BATCHES + 2)]
        assert waited == [False] * SINGLE_CALLER_BATCHES + [True, True]
        assert await ask(3) == [True, False, False]
        assert await ask(2) == [False, False]

    asyncio.run(main())
    assert calls == [1] * (SINGLE_CALLER_BATCHES + 2) + [1, 2, 2]
