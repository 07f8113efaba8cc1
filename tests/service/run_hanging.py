"""Serves a model whose graphs hang on ``HANGS`` rows: ``run_hanging STORE PORT DEADLINE``.

It prints a line when one hangs.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Executor
from functools import partial

import uvicorn

from models_store.arrays import Array
from service.app import create_app
from service.engine.batching import BatchSizing, GraphQueue
from service.engine.sessions import Graph
from service.models.catalog import Catalog
from service.settings import Settings

HANGS = 3


class Hanging:
    """A graph that never returns from a batch of ``HANGS`` rows."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def run(self, rows: Array) -> dict[str, Array]:
        if len(rows) == HANGS:
            print("hangs", flush=True)
            threading.Event().wait()
        return self._graph.run(rows)


def hanging(graph: Graph, executor: Executor, _sizing: BatchSizing) -> GraphQueue:
    return GraphQueue(Hanging(graph), executor, BatchSizing(64))


def main(store: str, port: str, deadline: str) -> None:
    settings = Settings(store=store, deadline_seconds=deadline, grace_seconds=0)
    uvicorn.run(create_app(settings, partial(Catalog, queue=hanging)), port=int(port), log_config=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
