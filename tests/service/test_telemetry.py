"""What is seen from outside: metrics, timing, logs; and what must never be."""

from __future__ import annotations

import errno
import io
import json
import logging
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families

from service.app import create_app
from service.models.catalog import Catalog
from service.settings import Settings
from service.telemetry import logs, metrics
from service.telemetry.tracing import Tracer
from tests.service.asking import SEVEN, inputs, npz, parts
from tests.service.counted import samples
from tests.service.running import process_of, until

MARKER = "zebra4711"


@pytest.fixture
def lone_client(bundle_folder: Path) -> Iterator[TestClient]:
    """A client of an app of this test alone."""
    with TestClient(create_app(Settings(store=bundle_folder.parents[1]))) as client:
        yield client


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What is logged, as it is written; everything that can be."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.Json())
    root, requests = logging.getLogger(), logs.requests
    levels = root.level, requests.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    requests.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(levels[0])
    requests.setLevel(levels[1])


def scraped(client: TestClient) -> dict[str, dict[tuple[str, ...], float]]:
    return samples(client.get("/metrics").text)


def test_requests_rows_phases_and_batches_are_counted(lone_client: TestClient) -> None:
    lone_client.post("/encode", **inputs(label=[1, 2, 3]))
    lone_client.post("/models/tiny/generate?K=7", **parts(image=SEVEN, label=b"7"))
    lone_client.post("/encode", **inputs(label=["x"]))
    counts_by_name = scraped(lone_client)
    assert counts_by_name["anyview_requests_total"] == {
        ("1", "tiny", "encode", "2xx"): 1,
        ("2", "tiny", "generate_with", "2xx"): 1,
        ("0", "none", "encode", "4xx"): 1,
    }
    assert counts_by_name["anyview_rows_total"][("tiny", "encode")] == 3
    phases = {
        labels[2] for labels in counts_by_name["anyview_phase_seconds_total"] if labels[1] == "generate_with"
    }
    assert phases == {"read", "encode", "fuse", "decode", "summarise", "reply"}
    assert counts_by_name["anyview_request_seconds_count"][("tiny", "encode")] == 1
    assert counts_by_name["anyview_batch_rows_count"][("label.encoder.onnx", "tiny")] == 2
    assert counts_by_name["anyview_batch_rows_sum"][("image.decoder.onnx", "tiny")] == 7


def test_models_refusals_readiness_and_waiting_rows_are_shown(lone_client: TestClient) -> None:
    counts_by_name = scraped(lone_client)
    assert counts_by_name["anyview_model_loaded"] == {("tiny", "1"): 1}
    assert counts_by_name["anyview_refused_bundles"] == {(): 0}
    assert counts_by_name["anyview_ready"] == {(): 1}
    assert counts_by_name["anyview_waiting_rows"][("image.encoder.onnx", "tiny")] == 0


def test_values_from_clients_make_no_new_label(lone_client: TestClient) -> None:
    lone_client.get("/nope")
    before = {name: len(series) for name, series in scraped(lone_client).items()}
    for number in range(30):
        lone_client.get(f"/{MARKER}-{number}", headers={"x-request-id": f"{MARKER}{number}"})
        lone_client.get(f"/models/{MARKER}-{number}")
        lone_client.request(f"ODD{number}", f"/models/{MARKER}/encode?{MARKER}={number}")
        lone_client.post(f"/encode?cond_mod={MARKER}{number}", **parts(image=SEVEN))
        lone_client.post(f"/v2/models/{MARKER}{number}/infer", **inputs(**{MARKER: [number]}))
        lone_client.get(f"/models/tiny/report/{MARKER}{number}")
        lone_client.post(f"/models/{MARKER}{number}/load?version={number}")
    text = lone_client.get("/metrics").text
    assert MARKER not in text
    grown = {name: len(series) - before.get(name, 0) for name, series in samples(text).items()}
    assert max(grown.values()) <= 17 * 7  # buckets of a histogram, seven operations


def test_timing_of_an_answer_adds_up(lone_client: TestClient) -> None:
    """Phases follow each other without a gap, so together they are the whole."""
    answer = lone_client.post("/score?K=50&cond_mod=image", **parts(image=SEVEN, label=b"7"))
    pairs = re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"])
    milliseconds = {name: float(ms) for name, ms in pairs}
    assert list(milliseconds) == ["read", "encode", "fuse", "decode", "summarise", "reply", "total"]
    total = milliseconds.pop("total")
    assert sum(milliseconds.values()) == pytest.approx(total, abs=0.0005 * 7)  # each is rounded to 1 µs


def test_a_request_is_followed_by_its_id(
    bundle_folder: Path, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    """The same id and phases in the answer, the log, the metrics and the trace of the client."""
    spans = InMemorySpanExporter()
    app = create_app(Settings(store=str(bundle_folder.parents[1])), tracer_of=lambda _: Tracer(spans))
    parent = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "x-request-id": "case-12"}
    with TestClient(app) as client:
        answer = client.post("/encode", headers=parent, **parts(image=SEVEN))
        counted = scraped(client)["anyview_phase_seconds_total"]
    (line,) = [line for line in logged() if line.get("request_id") == "case-12"]
    timing = answer.headers["server-timing"]
    milliseconds = {
        name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", timing) if name != "total"
    }
    assert answer.headers["x-request-id"] == "case-12"
    assert line["phases_ms"] == milliseconds
    assert {phase: 1e3 * s for (_, _, phase), s in counted.items()} == pytest.approx(milliseconds, abs=1e-3)
    assert (line["operation"], line["model"], line["rows"], line["status"]) == ("encode", "tiny", 1, 200)

    # as JSON, since what the library's types leave open is always there
    exported = [json.loads(span.to_json()) for span in spans.get_finished_spans()]
    *phases, whole = [span for span in exported if span["context"]["trace_id"] == f"0x{'ab' * 16}"]
    assert line["trace_id"] == "ab" * 16
    assert (whole["name"], whole["attributes"]["anyview.request_id"]) == ("encode", "case-12")
    assert whole["parent_id"] == f"0x{'cd' * 8}"
    assert {span["parent_id"] for span in phases} == {whole["context"]["span_id"]}
    assert [span["name"] for span in phases] == list(milliseconds)


def test_traces_are_sent_to_the_endpoint(bundle_folder: Path) -> None:
    came: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
        settings = Settings(store=str(bundle_folder.parents[1]), trace_endpoint=endpoint)
        with TestClient(create_app(settings)) as client:
            client.get("/livez", headers={"x-request-id": "case-13"})
        server.shutdown()
    assert b"case-13" in b"".join(came)  # what was not sent yet is sent at the end


def test_a_slow_request_is_named_beside_its_bucket(
    lone_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts as slow is set here, since no request takes the same time on every machine."""
    for request_id, seconds in (("quick-1", math.inf), ("slow-1", 0.0)):
        monkeypatch.setattr(metrics, "SLOW_SECONDS", seconds)
        answer = lone_client.post("/encode", headers={"x-request-id": request_id}, **inputs(label=[1]))
        assert answer.status_code == 200
    text = lone_client.get("/metrics", headers={"accept": "application/openmetrics-text"}).text
    exemplars = [s.exemplar for f in open_families(text) for s in f.samples if s.exemplar is not None]
    assert [exemplar.labels for exemplar in exemplars] == [{"request_id": "slow-1"}]


@pytest.mark.parametrize("sent", ["", "two words", "x" * 65, "é", 'a"b', "{}"])
def test_an_id_that_is_not_sane_is_replaced(client: TestClient, sent: str) -> None:
    answer = client.get("/livez", headers={b"x-request-id": sent.encode()})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


TENSOR = {"inputs": [{"name": "label", "shape": [1], "datatype": "BYTES", "data": [MARKER]}]}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/encode", inputs(label=[MARKER])),
    ("/encode", inputs(**{MARKER: [1]})),
    ("/encode", {"content": MARKER, "headers": {"content-type": "application/json"}}),
    ("/encode", parts(**{MARKER: SEVEN})),
    ("/encode", parts(image=MARKER.encode())),
    ("/encode", {"files": [("image", (MARKER, SEVEN))]}),
    (
        "/encode",
        {
            "content": b"--x\rno" + MARKER.encode(),
            "headers": {"content-type": f"multipart/form-data; boundary={MARKER}"},
        },
    ),
    (f"/encode?cond_mod={MARKER}", parts(image=SEVEN)),
    (f"/encode?{MARKER}=1", parts(image=SEVEN)),
    (f"/models/{MARKER}/encode", parts(image=SEVEN)),
    (f"/{MARKER}", parts(image=SEVEN)),
    ("/encode", {**parts(image=SEVEN), "headers": {"accept": MARKER}}),
    ("/encode", {"content": f"label\n{MARKER}\n", "headers": {"content-type": "text/csv"}}),
    ("/encode", {"content": MARKER, "headers": {"content-type": f"text/{MARKER}"}}),
    ("/encode", npz(image=np.array([MARKER]))),
    (f"/v2/models/{MARKER}/infer", {"json": TENSOR}),
    ("/v2/models/tiny/infer", {"json": TENSOR}),
    ("/v2/models/tiny/infer", {"content": MARKER}),
    ("/v2/models/tiny/infer", {"json": {"inputs": [], "parameters": {MARKER: MARKER}}}),
    (f"/v2/repository/models/{MARKER}/load", {"json": {"parameters": {"config": MARKER}}}),
    (f"/models/{MARKER}/unload?version={MARKER}", {}),
]


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_nothing_of_what_was_sent_is_logged(
    client: TestClient, logged: Callable[[], list[dict[str, Any]]], path: str, body: dict[str, Any]
) -> None:
    client.post(path, **body)
    lines = logged()
    assert any(line["logger"] == "anyview.requests" for line in lines)
    assert MARKER not in json.dumps(lines)


class Broken(Catalog):
    """Fails, and says what was sent."""

    def get(self, name: str | None, number: int | None = None) -> Any:
        raise RuntimeError(f"{MARKER}, {name}, {number}")


def test_a_failure_is_logged_by_its_id_and_its_lines_alone(
    bundle_folder: Path, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    settings = Settings(store=bundle_folder.parents[1])
    with TestClient(create_app(settings, Broken)) as client:
        answer = client.post("/encode", headers={"x-request-id": "bug-1"}, **parts(image=SEVEN))
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "bug-1")
    assert answer.headers["x-content-type-options"] == "nosniff"
    (line,) = [line for line in logged() if "exception" in line]
    assert line["request_id"] == "bug-1"
    assert line["exception"][0]["type"] == "builtins.RuntimeError"
    assert "test_telemetry.py" in line["exception"][0]["at"][-1]
    assert MARKER not in json.dumps(logged())


def test_the_process_logs_json_and_nothing_of_what_was_sent(bundle_folder: Path, tmp_path: Path) -> None:
    """As it is deployed: what uvicorn and libraries write is among it."""
    errors = tmp_path / "stderr"
    with (
        errors.open("wb") as stream,
        process_of(
            bundle_folder.parents[1],
            *("--log-requests", "true", "--log-level", "debug", "--grace-seconds", "0"),
            stderr=stream,
        ) as (address, process),
    ):
        for path, body in ASKED:
            httpx2.post(f"{address}{path}", **body, timeout=60)
        upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-key": "x"}
        httpx2.get(f"{address}/{MARKER}?{MARKER}", headers=upgrade, timeout=60)
        process.terminate()
        assert process.wait(60) == 0  # each line is written by now
    lines = [json.loads(line) for line in errors.read_text().splitlines()]
    assert sum(line["logger"] == "anyview.requests" for line in lines) > len(ASKED)
    assert MARKER not in errors.read_text()


def test_files_that_several_processes_count_in_are_reserved(tmp_path: Path) -> None:
    """Otherwise a process ends by SIGBUS where the file system becomes full."""
    program = "import service.telemetry.metrics as m; m.Metrics().expose('')"
    environment = {**os.environ, metrics.DIRECTORY: str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)  # noqa: S603 - our own program
    files = {path.stem.rpartition("_")[0]: path.stat() for path in tmp_path.iterdir()}
    assert {name: file.st_size for name, file in files.items()} == metrics.RESERVED
    assert all(file.st_blocks * 512 >= file.st_size for file in files.values())


def test_where_the_temporary_folder_is_full_each_process_counts_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_file: int, _start: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.delenv(metrics.DIRECTORY, raising=False)
    with metrics.counted_together(4):
        assert metrics.DIRECTORY not in os.environ
    assert "cannot hold 10 MB for the metrics of 4 processes" in caplog.text


def test_several_processes_count_together(bundle_folder: Path) -> None:
    def counts(address: str) -> tuple[float, float]:
        """How many requests are counted, and how many durations."""
        counts_by_name = samples(httpx2.get(f"{address}/metrics", timeout=60).text)
        requests = counts_by_name["anyview_requests_total"]
        durations = counts_by_name.get("anyview_request_seconds_count", {})
        total = sum(value for labels, value in requests.items() if "encode" in labels)
        return total, durations.get(("tiny", "encode"), 0)

    with process_of(bundle_folder.parents[1], "--workers", "2") as (address, _):
        for _ in range(20):  # each on a separate connection, so both processes get some
            httpx2.post(f"{address}/encode", json={"inputs": {"label": [1]}}, timeout=60)
        until(lambda: counts(address) == (20, 20))
        counts_by_name = samples(httpx2.get(f"{address}/metrics", timeout=60).text)
        assert counts_by_name["anyview_model_loaded"] == {("tiny", "1"): 1}
