"""Hundreds at once: everybody gets exactly the answer that the same question gets alone.

Exactly, since onnxruntime gives a row the same bits in a batch of any size (the first test here); were that
different on some processor, this is where it would be seen first.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import numpy as np
import pytest

from models_store import golden
from models_store.folder import open_bundle
from models_store.manifest import encoder_file
from service.app import create_app
from service.engine.batching import GraphQueue, Outputs
from service.engine.pace import Pace
from service.engine.sessions import Graph
from service.models.catalog import Catalog
from service.models.loading import open_sessions
from service.settings import Settings

QuestionQueue = Callable[[Graph, Executor, Pace], GraphQueue]


@dataclass(frozen=True)
class Question:
    """One request, and after how long its client hangs up, if it does."""

    path: str
    body: bytes
    starts: float
    leaves: float | None


def draw_question(rng: np.random.Generator) -> Question:
    rows = int(rng.integers(1, 8))
    has = {"image": rng.random(rows) < 0.6, "label": rng.random(rows) < 0.6}
    has["label"] |= ~has["image"]  # no row of nothing
    values: dict[str, list[Any]] = {
        "image": rng.integers(0, 256, (rows, 28, 28)).tolist(),
        "label": rng.integers(0, 10, rows).tolist(),
    }
    inputs = {
        name: [value if own else None for value, own in zip(values[name], has[name], strict=True)]
        for name in has
        if has[name].any()
    }
    query: dict[str, Any] = {"N": rng.integers(1, 4), "seed": rng.integers(2**32)}
    operation = str(rng.choice(["encode", "generate"]))
    if operation == "generate":
        query |= {"K": rng.integers(1, 9), "gen_mod": rng.choice(["all", "image", "label"])}
        query |= {"noise": rng.choice(["true", "false"])}
    return Question(
        path=f"/{operation}?{urlencode(query)}",
        body=json.dumps({"inputs": inputs}).encode(),
        starts=float(rng.uniform(0, 0.3)),
        leaves=float(rng.uniform(0, 0.05)) if rng.random() < 0.15 else None,
    )


@asynccontextmanager
async def serving(
    bundle_folder: Path, queue: QuestionQueue = GraphQueue
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the real app, whose graphs are queued as given."""
    app = create_app(Settings(store=bundle_folder.parents[1]), partial(Catalog, queue=queue))
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx2.ASGITransport(with_state)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            yield client


async def ask(client: httpx2.AsyncClient, question: Question) -> bytes:
    headers = {"content-type": "application/json"}
    response = await client.post(question.path, content=question.body, headers=headers)
    assert response.status_code == 200, response.text
    return response.content


async def ask_together(client: httpx2.AsyncClient, questions: list[Question]) -> list[bytes | None]:
    """The answers; None for those who hung up before they had it."""

    async def one(question: Question) -> bytes | None:
        await asyncio.sleep(question.starts)
        try:
            async with asyncio.timeout(question.leaves):
                return await ask(client, question)
        except TimeoutError:
            return None

    return await asyncio.gather(*map(one, questions))


async def assert_together_is_as_alone(
    bundle_folder: Path, queue: QuestionQueue, seed: int, count: int = 200
) -> None:
    rng = np.random.default_rng(seed)
    questions = [draw_question(rng) for _ in range(count)]
    async with serving(bundle_folder) as client:
        alone = [await ask(client, question) for question in questions]
    async with serving(bundle_folder, queue) as client:
        together = await ask_together(client, questions)
    answered = [(a, b) for a, b in zip(alone, together, strict=True) if b is not None]
    assert count / 2 < len(answered) < count
    assert all(a == b for a, b in answered)


def paced(pace: Pace) -> QuestionQueue:
    """Queues that batch at a pace that is given instead of measured."""
    return lambda graph, executor, _pace: GraphQueue(graph, executor, pace)


class Crossed(GraphQueue):
    """A batcher with the mistake that it must not have: two callers get each other's rows."""

    def _deliver(self, batch: Any, outputs: Outputs) -> None:
        crossed = {name: np.roll(value, 1, axis=0) for name, value in outputs.items()}
        super()._deliver(batch, crossed if len(batch) > 1 else outputs)


def test_a_row_has_the_same_bits_in_a_batch_of_any_size(bundle_folder: Path) -> None:
    bundle = open_bundle(bundle_folder)
    x = golden.from_bytes(bundle.read(golden.FILE))["image.x"]
    encoder = open_sessions(bundle)[encoder_file("image")]
    whole = encoder.run(np.resize(x, (256, *x.shape[1:])))["mu"]
    for size in (*range(1, 34), 63, 64, 65, 127):
        assert np.array_equal(encoder.run(np.resize(x, (size, *x.shape[1:])))["mu"], whole[:size])


QUEUES = {
    "as measured": GraphQueue,
    "all in threads": paced(Pace(64)),
    "tiny batches in threads": paced(Pace(3)),
    "loop and threads": paced(Pace(16, 4)),
}


@pytest.mark.parametrize("queue", QUEUES.values(), ids=QUEUES)
def test_together_is_as_alone(bundle_folder: Path, queue: QuestionQueue) -> None:
    asyncio.run(assert_together_is_as_alone(bundle_folder, queue, seed=1))


@pytest.mark.parametrize("pace", [Pace(64), Pace(64, 64)], ids=["in threads", "on the loop"])
def test_callers_whose_rows_are_crossed_are_found(bundle_folder: Path, pace: Pace) -> None:
    """The test above can fail."""
    with pytest.raises(AssertionError):
        asyncio.run(
            assert_together_is_as_alone(
                bundle_folder, lambda graph, executor, _: Crossed(graph, executor, pace), seed=1
            )
        )
