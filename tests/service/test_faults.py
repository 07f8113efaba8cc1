"""Faults while it serves: no request hangs or gets another's answer, and readiness is right."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI

from benchmarks.servers import free_port
from models_store.arrays import Array
from service.app import create_app
from service.engine.batching import BatchSizing, GraphQueue
from service.engine.sessions import Graph
from service.models.catalog import Catalog
from service.settings import Settings
from tests.service.run_hanging import HANGS
from tests.service.running import readiness, running, until

RAISES, KILLS = 13, 66
"""Pictures all of this grey make the image encoder fail, or end its thread."""


class Faulty:
    """A graph that fails at certain rows, and waits while ``gate`` is closed."""

    def __init__(self, graph: Graph, gate: threading.Event, entered: threading.Event) -> None:
        self._graph = graph
        self._gate = gate
        self._entered = entered

    def run(self, rows: Array) -> dict[str, Array]:
        self._entered.set()
        assert self._gate.wait(60)
        if rows.dtype == np.uint8:
            greys = {int(row.max()) for row in rows}
            if KILLS in greys:
                raise SystemExit
            if RAISES in greys:
                raise RuntimeError("the graph fails")
        return self._graph.run(rows)


class Service:
    """A running service whose graphs can be made to fail or to wait.

    Arguments:
        store: Of models.
        options: Settings.
    """

    def __init__(self, store: Path, **options: Any) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.queues: list[GraphQueue] = []
        settings = Settings.model_validate({"store": store, "threads": 1, **options})
        self.app: FastAPI = create_app(settings, partial(Catalog, queue=self._queue))

    def _queue(self, graph: Graph, executor: Executor, _sizing: BatchSizing) -> GraphQueue:
        self.queues.append(
            GraphQueue(Faulty(graph, self.gate, self.entered), executor, BatchSizing(64, rows_per_second=2))
        )
        return self.queues[-1]

    @property
    def waiting_rows(self) -> int:
        return sum(queue.waiting_rows for queue in self.queues)

    def block(self, client: httpx2.Client, clients: Executor, document: dict[str, Any]) -> Future[Any]:
        """Closes the gate behind one request, so that all later ones must wait."""
        self.gate.clear()
        self.entered.clear()
        return self.post_until(self.entered.is_set, client, clients, document)

    @staticmethod
    def post_until(
        reached: Callable[[], bool], client: httpx2.Client, clients: Executor, document: dict[str, Any]
    ) -> Future[Any]:
        """Posts a request and waits until it has got that far; one that ends before is posted again.

        On a busy machine a short deadline may pass before the request has.
        """
        while True:
            call = clients.submit(client.post, "/encode?seed=1", json=document)
            until(lambda call=call: reached() or call.done())  # type: ignore[misc]
            if reached():
                return call

    @contextmanager
    def serving(self) -> Iterator[httpx2.Client]:
        with (
            running(self.app) as (host, port),
            httpx2.Client(base_url=f"http://{host}:{port}", timeout=60) as client,
        ):
            try:
                yield client
            finally:
                self.gate.set()  # what still waits must not hold up the end


@pytest.fixture
def models(bundle_folder: Path) -> Path:
    return bundle_folder.parents[1]


def pictures(*greys: int) -> dict[str, Any]:
    return {"inputs": {"image": [np.full((28, 28), grey).tolist() for grey in greys]}}


def labels(*indices: int) -> dict[str, Any]:
    return {"inputs": {"label": list(indices)}}


def half_sent(client: httpx2.Client, document: dict[str, Any], share: float) -> socket.socket:
    """A connection on which a share of a request was sent."""
    content = json.dumps(document).encode()
    head = f"POST /encode HTTP/1.1\r\nhost: test\r\ncontent-length: {len(content)}\r\n".encode()
    connection = socket.create_connection((client.base_url.host, client.base_url.port or 80))
    whole = head + b"content-type: application/json\r\n\r\n" + content
    connection.sendall(whole[: int(len(whole) * share)])
    return connection


def ready(client: httpx2.Client) -> bool:
    return client.get("/readyz").status_code == 200


def test_a_graph_that_raises_fails_that_question_alone(models: Path) -> None:
    service = Service(models)
    with service.serving() as client:
        failed = client.post("/encode", json=pictures(RAISES))
        assert failed.status_code == 500
        assert "the graph fails" not in failed.text
        assert client.post("/encode", json=labels(1)).status_code == 200
        assert client.post("/encode", json=pictures(1)).status_code == 200
        assert ready(client)


def test_who_shares_a_batch_with_one_that_fails_gets_the_right_answer(models: Path) -> None:
    service = Service(models)
    with service.serving() as client, ThreadPoolExecutor(12) as clients:
        alone = [client.post("/encode?seed=1", json=pictures(grey)).json() for grey in range(10)]
        first = service.block(client, clients, pictures(99))
        calls = [
            clients.submit(client.post, "/encode?seed=1", json=pictures(grey))
            for grey in (*range(10), RAISES)
        ]
        until(lambda: service.waiting_rows >= 10)
        service.gate.set()
        *sound, failing = [call.result() for call in calls]
        assert [response.json() for response in sound] == alone
        assert failing.status_code == 500
        assert first.result().status_code == 200


def test_a_graph_that_would_end_its_thread_fails_its_request_alone(models: Path) -> None:
    service = Service(models)
    with service.serving() as client:
        for _ in range(2):  # more often than there are threads
            assert client.post("/encode", json=pictures(KILLS)).status_code == 500
        assert client.post("/encode", json=labels(1)).status_code == 200
        assert ready(client)
        assert client.get("/livez").json() == {"status": "alive", "missing": []}


@pytest.mark.parametrize("path", ["index", "models/tiny/load"])
def test_an_upload_to_the_repository_that_never_ends_is_refused_at_the_deadline(
    models: Path, path: str
) -> None:
    service = Service(models, deadline_seconds=0.2, allow_loading=True)
    with service.serving() as client:
        address = (client.base_url.host, client.base_url.port or 80)
        with socket.create_connection(address) as connection:
            head = f"POST /v2/repository/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n"
            connection.sendall(head.encode() + b"{")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


@contextmanager
def hanging_process(models: Path, deadline: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of a service whose graphs hang on some rows."""
    port = free_port()
    command = [sys.executable, "-m", "tests.service.run_hanging", str(models), str(port), deadline]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our program
        try:
            until(lambda: readiness(address) == 200, 120)
            yield address, process
        finally:
            process.kill()


def test_sigterm_ends_a_process_in_which_a_graph_hangs(models: Path) -> None:
    with hanging_process(models, "0.3") as (address, process):
        assert httpx2.post(f"{address}/encode", json=labels(*range(HANGS)), timeout=60).status_code == 503
        until(lambda: readiness(address) == 503)
        process.terminate()
        process.wait(60)


def test_at_sigterm_a_client_that_waits_is_answered_and_the_process_ends(models: Path) -> None:
    """Long before the deadline of the request."""
    with hanging_process(models, "100000") as (address, process), ThreadPoolExecutor(1) as clients:
        url, body = f"{address}/encode", labels(*range(HANGS))
        answer = clients.submit(httpx2.post, url, json=body, timeout=300)
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        process.terminate()
        assert answer.result().status_code == 503
        assert "the service stops" in answer.result().json()["detail"]
        process.wait(60)


def test_a_client_that_hangs_up_while_it_waits_stops_costing(models: Path) -> None:
    service = Service(models)
    with service.serving() as client, ThreadPoolExecutor(2) as clients:
        first = service.block(client, clients, labels(1))
        connection = half_sent(client, labels(*range(9)), 1.0)
        until(lambda: service.waiting_rows == 9)
        connection.close()
        until(lambda: service.waiting_rows == 0)
        service.gate.set()
        assert first.result().status_code == 200
        assert ready(client)


def test_a_client_that_hangs_up_while_it_uploads_costs_nothing(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(models)
    with service.serving() as client:
        for _ in range(20):
            half_sent(client, pictures(1), 0.5).close()
        assert client.post("/encode", json=pictures(1)).status_code == 200
        assert service.waiting_rows == 0
        assert ready(client)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def test_a_full_queue_refuses_and_says_when_to_come_again(models: Path) -> None:
    """The graphs here get through two rows a second, so it says; twelve rows wait."""
    service = Service(models, max_waiting_rows=10)
    with service.serving() as client, ThreadPoolExecutor(2) as clients:
        first = service.block(client, clients, labels(1))
        full = half_sent(client, labels(*([1] * 12)), 1.0)
        until(lambda: service.waiting_rows >= 12)
        refused = client.post("/encode", json=labels(1))
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "6"
        assert "12 rows wait already, more than the 10 that may; ask again in 6 s" in refused.json()["detail"]
        assert ready(client)
        service.gate.set()
        assert first.result().status_code == 200
        assert full.recv(15) == b"HTTP/1.1 200 OK"
        full.close()
        assert client.post("/encode", json=labels(1)).status_code == 200


def test_a_question_past_its_deadline_is_refused_and_stops_costing(models: Path) -> None:
    service = Service(models, deadline_seconds=0.3)
    with service.serving() as client, ThreadPoolExecutor(2) as clients:
        running = service.block(client, clients, labels(1))
        waiting = service.post_until(lambda: service.waiting_rows == 2, client, clients, labels(1, 2))
        for call in (running, waiting):
            assert call.result().status_code == 503
            assert "no answer within the 0.3 s" in call.result().json()["detail"]
        assert service.waiting_rows == 0
        service.gate.set()
        until(lambda: client.post("/encode", json=labels(1)).status_code == 200)


def test_a_graph_that_hangs_turns_readiness_off_until_it_comes_back(models: Path) -> None:
    service = Service(models, deadline_seconds=0.3)
    with service.serving() as client, ThreadPoolExecutor(1) as clients:
        hanging = service.block(client, clients, labels(1))
        until(lambda: not ready(client))
        assert hanging.result().status_code == 503
        assert client.get("/livez").status_code == 200
        service.gate.set()
        until(lambda: ready(client))


def test_a_body_that_does_not_arrive_in_time_is_refused(models: Path) -> None:
    service = Service(models, deadline_seconds=0.3)
    with service.serving() as client:
        connection = half_sent(client, pictures(1), 0.5)
        assert connection.recv(12) == b"HTTP/1.1 408"
        connection.close()


def test_a_store_that_vanishes_is_no_reason_to_stop_answering(models: Path, tmp_path: Path) -> None:
    """The graphs are in memory."""
    copy = shutil.copytree(models, tmp_path / "store")
    service = Service(copy)
    with service.serving() as client:
        before = client.post("/encode?seed=1", json=pictures(1)).json()
        shutil.rmtree(copy)
        assert client.post("/encode?seed=1", json=pictures(1)).json() == before
        assert ready(client)
        assert client.get("/models").json()["models"][0]["version"] == 1
