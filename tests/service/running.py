"""The real app behind a real socket, in a thread or in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import httpx2
import uvicorn
from starlette.types import ASGIApp

from benchmarks.servers import free_port
from service.http.protocol import Protocol


@contextmanager
def running(app: ASGIApp) -> Iterator[tuple[str, int]]:
    """Serves in a thread; gives the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=Protocol, log_config=None, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join(60)


@contextmanager
def process_of(
    store: Path, *options: str, stderr: BinaryIO | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """``anyview-serve``, once it is ready; gives its address."""
    port = free_port()
    command = [sys.executable, "-m", "service", "--store", str(store), "--port", str(port), *options]
    # In a session of its own, so that it can be killed with its workers.
    process = subprocess.Popen(command, stderr=stderr, start_new_session=True)  # noqa: S603 - our own program
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or readiness(address) == 200, 120)
        yield address, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def descendants(process: int) -> list[int]:
    """Children of a process that run, and theirs."""
    lists = [task / "children" for task in Path(f"/proc/{process}/task").iterdir()]
    children = [int(one) for file in lists for one in file.read_text().split() if runs(int(one))]
    return [*children, *(further for child in children for further in descendants(child))]


def runs(process: int) -> bool:
    """Whether a process has not ended; one that its new parent has not read the status of has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def readiness(address: str, path: str = "/readyz") -> int:
    """The status of a path; 0 where no process listens."""
    try:
        return httpx2.get(f"{address}{path}", timeout=10).status_code
    except httpx2.TransportError:
        return 0


def until(true: Callable[[], object], seconds: float = 60.0, every: float = 0.01) -> None:
    """Waits until something is so; looks that often, less often the longer it takes: 5 % too late at most.

    Raises:
        TimeoutError: It is not within the time.
    """
    begin = time.monotonic()
    while not true():
        waited = time.monotonic() - begin
        if waited > seconds:
            raise TimeoutError
        time.sleep(max(every, min(waited / 20, 0.5)))
