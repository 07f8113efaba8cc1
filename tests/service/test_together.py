"""Concurrent requests get exactly the responses that each gets alone.

Exactly, since onnxruntime gives a row the same bits in a batch of any size (the first test here). On a
processor where it does not, these tests fail first.
"""

from __future__ import annotations

import asyncio
import json
import threading
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
from models_store.arrays import Array
from models_store.folder import open_bundle
from models_store.manifest import encoder_file
from service.app import create_app
from service.engine.batching import BatchSizing, GraphQueue, Outputs
from service.engine.sessions import Graph
from service.models.catalog import Catalog
from service.models.loading import open_sessions
from service.settings import Settings

QueueOf = Callable[[Graph, Executor, BatchSizing], GraphQueue]
WAVE = 25
"""Requests that begin together."""


@dataclass(frozen=True)
class Request:
    """One request to the service.

    Arguments:
        path: With its query.
        body: JSON.
        disconnects: During the next run of which kind of graph the client disconnects: ``encoder``,
            ``decoder`` or None. The response needs such a run, so the client never receives it.
    """

    path: str
    body: bytes
    disconnects: str | None


class Disconnections:
    """Cancels requests while a graph runs: clients disconnect at a known moment on a machine of any speed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending: dict[str, list[asyncio.Task[bytes]]] = {"encoder": [], "decoder": []}

    def add(self, kind: str, call: asyncio.Task[bytes]) -> None:
        """Cancels the call when a graph of that kind runs next."""
        self._pending[kind].append(call)

    def during(self, kind: str) -> None:
        """Cancels the calls added for such a graph; called by the graph, in whichever thread it runs."""
        if threading.current_thread() is threading.main_thread():
            self._cancel(kind)
            return
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._cancel, kind)
        self._loop.call_soon_threadsafe(done.set)
        assert done.wait(60)

    def _cancel(self, kind: str) -> None:
        while self._pending[kind]:
            self._pending[kind].pop().cancel()


@dataclass(frozen=True)
class Interrupted:
    """A graph during whose runs clients disconnect."""

    graph: Graph
    disconnections: Disconnections

    def run(self, rows: Array) -> Outputs:
        outputs = self.graph.run(rows)
        self.disconnections.during("encoder" if "mu" in outputs else "decoder")
        return outputs


def draw_request(rng: np.random.Generator) -> Request:
    rows = int(rng.integers(1, 8))
    has = {"image": rng.random(rows) < 0.6, "label": rng.random(rows) < 0.6}
    has["label"] |= ~has["image"]  # no row of nothing
    values: dict[str, list[Any]] = {
        "image": rng.integers(0, 256, (rows, 28, 28)).tolist(),
        "label": rng.integers(0, 10, rows).tolist(),
    }
    inputs = {
        name: [value if present else None for value, present in zip(values[name], has[name], strict=True)]
        for name in has
        if has[name].any()
    }
    query: dict[str, Any] = {"N": rng.integers(1, 4), "seed": rng.integers(2**32)}
    operation = str(rng.choice(["encode", "generate"]))
    if operation == "generate":
        query |= {"K": rng.integers(1, 9), "gen_mod": rng.choice(["all", "image", "label"])}
        query |= {"noise": rng.choice(["true", "false"])}
    kinds = ["encoder"] if operation == "encode" else ["encoder", "decoder"]
    return Request(
        path=f"/{operation}?{urlencode(query)}",
        body=json.dumps({"inputs": inputs}).encode(),
        disconnects=str(rng.choice(kinds)) if rng.random() < 0.15 else None,
    )


@asynccontextmanager
async def serving(bundle_folder: Path, queue: QueueOf = GraphQueue) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the real app, whose graphs have these queues."""
    app = create_app(Settings(store=bundle_folder.parents[1]), partial(Catalog, queue=queue))
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx2.ASGITransport(with_state)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            yield client


async def send(client: httpx2.AsyncClient, request: Request) -> bytes:
    headers = {"content-type": "application/json"}
    response = await client.post(request.path, content=request.body, headers=headers)
    assert response.status_code == 200, response.text
    return response.content


async def send_together(
    client: httpx2.AsyncClient, requests: list[Request], disconnections: Disconnections
) -> list[bytes | None]:
    """The responses, or None for clients that disconnected.

    Requests begin in waves; a wave begins when the first request of the wave before has ended.
    """
    calls: list[asyncio.Task[bytes]] = []
    for start in range(0, len(requests), WAVE):
        wave = requests[start : start + WAVE]
        begun = [asyncio.create_task(send(client, request)) for request in wave]
        for request, call in zip(wave, begun, strict=True):
            if request.disconnects is not None:
                disconnections.add(request.disconnects, call)
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        calls += begun
    await asyncio.wait(calls)
    return [None if call.cancelled() else call.result() for call in calls]


async def assert_together_is_as_alone(
    bundle_folder: Path, queue_of: QueueOf, seed: int, count: int = 200
) -> None:
    rng = np.random.default_rng(seed)
    requests = [draw_request(rng) for _ in range(count)]
    async with serving(bundle_folder) as client:
        alone = [await send(client, request) for request in requests]
    disconnections = Disconnections()

    def interrupted(graph: Graph, executor: Executor, sizing: BatchSizing) -> GraphQueue:
        return queue_of(Interrupted(graph, disconnections), executor, sizing)

    async with serving(bundle_folder, interrupted) as client:
        together = await send_together(client, requests, disconnections)
    assert {request.disconnects for request in requests} == {None, "encoder", "decoder"}
    pairs = zip(requests, together, strict=True)
    assert all((response is None) == (request.disconnects is not None) for request, response in pairs)
    # Compared outside of the assertion, for which pytest would spend minutes on the difference of long texts.
    same = all(b is None or a == b for a, b in zip(alone, together, strict=True))
    assert same, "responses differ"


def paced(sizing: BatchSizing) -> QueueOf:
    """Queues with these batch sizes instead of measured ones."""
    return lambda graph, executor, _sizing: GraphQueue(graph, executor, sizing)


class Swapped(GraphQueue):
    """A queue that gives callers of one batch each other's rows."""

    def _deliver(self, batch: Any, outputs: Outputs) -> None:
        swapped = {name: np.roll(value, 1, axis=0) for name, value in outputs.items()}
        super()._deliver(batch, swapped if len(batch) > 1 else outputs)


def test_a_row_has_the_same_bits_in_a_batch_of_any_size(bundle_folder: Path) -> None:
    bundle = open_bundle(bundle_folder)
    x = golden.from_bytes(bundle.read(golden.FILE))["image.x"]
    encoder = open_sessions(bundle)[encoder_file("image")]
    whole = encoder.run(np.resize(x, (256, *x.shape[1:])))["mu"]
    for size in (*range(1, 34), 63, 64, 65, 127):
        assert np.array_equal(encoder.run(np.resize(x, (size, *x.shape[1:])))["mu"], whole[:size])


QUEUES = {
    "as measured": GraphQueue,
    "all in threads": paced(BatchSizing(64)),
    "tiny batches in threads": paced(BatchSizing(3)),
    "loop and threads": paced(BatchSizing(16, 4)),
}


@pytest.mark.parametrize("queue", QUEUES.values(), ids=QUEUES)
def test_concurrent_requests_get_the_responses_that_each_gets_alone(
    bundle_folder: Path, queue: QueueOf
) -> None:
    asyncio.run(assert_together_is_as_alone(bundle_folder, queue, seed=1))


@pytest.mark.parametrize("sizing", [BatchSizing(64), BatchSizing(64, 64)], ids=["in threads", "on the loop"])
def test_swapped_rows_are_detected(bundle_folder: Path, sizing: BatchSizing) -> None:
    """The test above can fail."""
    with pytest.raises(AssertionError, match="responses differ"):
        asyncio.run(
            assert_together_is_as_alone(
                bundle_folder, lambda graph, executor, _: Swapped(graph, executor, sizing), seed=1
            )
        )
