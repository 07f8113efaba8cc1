"""Starts servers in separate processes on one core."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Arguments:
        port: Where.
        process: Its first process.
        start_seconds: From its start to its first answer.
    """

    port: int
    process: subprocess.Popen[bytes]
    start_seconds: float

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all its processes until now."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # the process has ended
                continue
            if int(fields[3]) == self.process.pid:  # the session that the first process leads
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def resident_megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1000


def free_port() -> int:
    """A port of this machine that the caller's server can listen on, and that nothing else gets for a minute.

    A connection that the listening side closes first leaves its port in the state TIME_WAIT. The system then
    gives the port to no one who asks for any port, while a server with SO_REUSEADDR can still bind it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
            return port


@contextmanager
def anyview(models: Path | None, *options: str, cores: Collection[int] = (SERVER_CORE,)) -> Iterator[Server]:
    """``anyview-serve`` of a store, or of the shipped models."""
    store = [] if models is None else ["--store", str(models)]
    with _running(["-m", "service", *store, *options, "--port"], "/readyz", cores=cores) as server:
        yield server


@contextmanager
def rival(name: str, folder: Path) -> Iterator[Server]:
    """One of ``benchmarks.rivals``, with the graphs of a bundle."""
    with _running(["-m", "benchmarks.rivals", name], "/docs", str(folder)) as server:
        yield server


@contextmanager
def other(python: str, module: str, folder: Path) -> Iterator[Server]:
    """Another server of the Open Inference Protocol, in an environment of its own."""
    with _running(["-m", module], "/v2/health/ready", str(folder), python=python) as server:
        yield server


@contextmanager
def _running(
    arguments: list[str],
    path: str,
    *more: str,
    cores: Collection[int] = (SERVER_CORE,),
    python: str = sys.executable,
) -> Iterator[Server]:
    port = free_port()
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            [python, *arguments, str(port), *more],
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            while not answers(port, path):
                if process.poll() is not None or time.perf_counter() - start > 60:
                    log.seek(0)
                    raise RuntimeError(log.read().decode(errors="replace"))
                time.sleep(0.01)
            yield Server(port, process, time.perf_counter() - start)
        finally:
            os.killpg(process.pid, 9)
            process.wait()


def answers(port: int, path: str = "/readyz") -> bool:
    """Whether a server answers a path with status 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
