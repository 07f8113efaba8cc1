"""From start to SIGTERM, in processes as they are deployed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from benchmarks import ending
from benchmarks.servers import Server
from models_store.errors import BundleRefused
from models_store.folder import open_bundle
from service.engine.sessions import cpu_quota
from service.models.loading import open_sessions
from service.settings import Settings
from tests.service.running import descendants, process_of, readiness, runs, until

BODY = {"inputs": {"label": [1, 2, 3]}}


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_sigterm_under_load_loses_no_answer(bundle_folder: Path, options: tuple[str, ...]) -> None:
    """Clients send requests until readiness fails, as behind a load balancer."""
    reported = threading.Event()
    answered: list[int] = []

    def client(address: str) -> None:
        with httpx2.Client(base_url=address, timeout=30) as connection:
            while not reported.is_set():
                answered.append(connection.post("/encode", json=BODY).status_code)

    with (
        process_of(bundle_folder.parents[1], "--grace-seconds", "2", *options) as (address, process),
        ThreadPoolExecutor(4) as clients,
    ):
        running = [clients.submit(client, address) for _ in range(4)]
        until(lambda: len(answered) > 20)
        process.send_signal(signal.SIGTERM)
        until(lambda: readiness(address) == 503)
        before = len(answered)
        until(lambda: len(answered) > before + 20)  # it is not ready, and still answers
        reported.set()
        for each in running:
            each.result()
        assert process.wait(60) == 0
    assert set(answered) == {200}


def test_sigterm_loses_no_request_of_clients_that_never_pause(bundle_folder: Path) -> None:
    """They keep their connections and open new ones until no process listens."""
    body = json.dumps(BODY).encode()
    request = (
        "POST /encode HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
    with process_of(bundle_folder.parents[1], "--grace-seconds", "0") as (address, process):
        counts = ending.count(Server(httpx2.URL(address).port or 80, process, 0.0), request, 16)
        assert process.wait(60) == 0
    assert counts["answered"] > 100
    assert counts["lost"] == counts["refused"] == 0


def test_what_is_in_flight_when_the_grace_is_over_is_finished(bundle_folder: Path) -> None:
    """The client sends the body last, so the request is in flight for as long as the test needs."""
    body = json.dumps(BODY).encode()
    head = (
        "POST /encode HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    options = ("--grace-seconds", "0", "--finish-seconds", "600")
    with process_of(bundle_folder.parents[1], *options) as (address, process):
        url = httpx2.URL(address)
        with (
            socket.create_connection((url.host, url.port or 80)) as client,
            client.makefile("rb") as response,
        ):
            client.sendall(head)
            assert response.readline() == b"HTTP/1.1 100 Continue\r\n"  # the endpoint reads the body
            process.send_signal(signal.SIGTERM)
            until(lambda: readiness(address) == 0)  # the server no longer listens
            assert process.poll() is None
            client.sendall(body)
            assert response.read().startswith(b"\r\nHTTP/1.1 200 OK\r\n")
        assert process.wait(60) == 0


def test_workers_end_when_their_master_is_killed(bundle_folder: Path) -> None:
    with process_of(bundle_folder.parents[1], "--workers", "2") as (address, process):
        workers = descendants(process.pid)
        assert len(workers) >= 2
        process.kill()
        process.wait()
        until(lambda: not any(map(runs, workers)))
        assert readiness(address) == 0


ORPHAN = """
import multiprocessing
import os
import signal
from service.models.sandbox import end_with_parent

def child():
    multiprocessing.parent_process().join()
    end_with_parent(signal.SIGKILL)
    print("still runs", flush=True)

print("started", flush=True)
multiprocessing.get_context("fork").Process(target=child).start()
os._exit(0)
"""


def test_a_process_whose_parent_ended_before_it_could_watch_it_ends() -> None:
    command = [sys.executable, "-c", ORPHAN]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own program
    assert done.stdout == "started\n"  # read until the child, which has the pipe too, has ended


def test_a_second_sigterm_does_not_wait_for_the_grace(bundle_folder: Path) -> None:
    with process_of(bundle_folder.parents[1], "--grace-seconds", "600") as (address, process):
        process.send_signal(signal.SIGTERM)
        until(lambda: readiness(address) == 503)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_refused_rather_than_replaced(
    bundle_folder: Path, provider: str
) -> None:
    with pytest.raises(BundleRefused, match=rf"tiny/1: image.encoder.onnx .* cannot run on '{provider}'"):
        open_sessions(open_bundle(bundle_folder), provider)


QUOTAS = {
    "version 2": ({"cpu.max": "100000 100000\n"}, 1),
    "half a core": ({"cpu.max": "50000 100000\n"}, 1),
    "version 1": ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
}


@pytest.mark.parametrize(("files", "cores"), QUOTAS.values(), ids=QUOTAS)
def test_threads_are_as_many_as_the_control_group_allows(
    tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cpu_quota(tmp_path) == cores


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000\n"},
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        {"cpu.max": "99900000 100000\n"},
    ],
)
def test_without_a_quota_threads_are_as_many_as_the_cores(tmp_path: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cpu_quota(tmp_path) == cpu_quota(tmp_path / "nowhere")


def test_workers_read_the_same_settings_from_their_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(store=tmp_path, models=["a", "b"], threads=3, max_rows=7, default_model="a")
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
