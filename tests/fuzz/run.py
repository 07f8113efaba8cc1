"""Sends random requests to a service of its own: ``python -m tests.fuzz.run --requests 10000 --seed 1``.

It exits with 1 if a request gets a response of 5xx (503 with ``Retry-After`` excepted) or none, if the log
has a traceback, or if file descriptors or memory grow.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from models_store.folder import SHIPPED
from tests.fuzz.bodies import Rows
from tests.fuzz.requests import Case, case
from tests.service.running import process_of, until

SECONDS = 90.0
"""Longest wait for a response; the service's own deadline is 60 s."""
CLIENTS = 4
GROWTH = 1.10
WARM_UP = 1000
"""Requests before memory and descriptors are measured: libraries allocate at their first use."""


@dataclass
class Result:
    """Counts of responses, and broken promises."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    worst_livez: float = 0.0
    """Longest time of a response to ``/livez``, in seconds."""
    worst_after: int = 0
    """Seed of the request that was sent last before that response."""
    newest: int = 0
    """Seed of the request that was sent last."""
    peak: int = 0


def send(address: tuple[str, int], one: Case) -> str:
    """Sends a request; returns the status of the response, or what came instead."""
    received = b""
    try:
        with socket.create_connection(address, timeout=SECONDS) as connection:
            try:
                connection.sendall(one.content)
                connection.shutdown(socket.SHUT_WR) if not one.whole else None
            except OSError:
                pass  # refused before all was sent: the response may be there
            while chunk := connection.recv(1 << 20):
                received = (received + chunk)[:4000]
    except TimeoutError:
        return "silence"
    except OSError:
        pass
    if not received.startswith(b"HTTP/1.1 "):
        return "closed"
    status = received[9:12].decode()
    head = received.partition(b"\r\n\r\n")[0].lower()
    return f"{status} retry" if status in ("429", "503") and b"\r\nretry-after:" in head else status


class Watch:
    """Asks for ``/livez`` all the while, and reads resident memory and file descriptors of a process."""

    def __init__(self, address: tuple[str, int], process: int, result: Result) -> None:
        self._address, self._process, self._result = address, process, result
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def resident(self) -> int:
        pages = int(Path(f"/proc/{self._process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self._process}/fd").iterdir()))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        livez = Case("livez", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", True)
        while not self._stopped.wait(0.05):
            start = time.monotonic()
            if (status := send(self._address, livez)) != "200":
                self._result.faults.append(f"/livez: {status}")
            if (seconds := time.monotonic() - start) > self._result.worst_livez:
                self._result.worst_livez, self._result.worst_after = seconds, self._result.newest
            self._result.peak = max(self._result.peak, self.resident())


def examples(address: str) -> dict[str, Rows]:
    """Valid rows of every loaded model."""
    names = [one["name"] for one in httpx2.get(f"{address}/models", timeout=60).json()["models"]]
    return {
        name: httpx2.get(f"{address}/models/{name}/examples?n_data=2", timeout=60).json()["inputs"]
        for name in names
    }


def fuzz(
    store: Path, seed: int, requests: int, options: Sequence[str] = (), warm_up: int = WARM_UP
) -> Result:
    """Sends requests of consecutive seeds to a service of its own.

    Arguments:
        store: Store of the service.
        seed: First seed.
        requests: Number of requests.
        options: Further options of the service.
        warm_up: Requests before memory and descriptors are measured.
    """
    result = Result()
    with (
        tempfile.TemporaryFile() as log,
        process_of(store, "--grace-seconds", "0", *options, stderr=log) as (address, process),
    ):
        models, at = examples(address), (urlsplit(address).hostname or "", urlsplit(address).port or 80)

        def ask(number: int) -> None:
            one = case(number, models)
            result.newest = number
            status = send(at, one)
            result.counts[one.form, status] += 1
            if (status.startswith("5") and status != "503 retry") or (
                one.whole and status in ("closed", "silence")
            ):
                result.faults.append(f"seed {number}, {one.form}: {status}")

        with Watch(at, process.pid, result) as watch, ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(ask, range(seed, seed + min(warm_up, requests))))
            memory, descriptors = watch.resident(), watch.descriptors()
            list(clients.map(ask, range(seed + warm_up, seed + requests)))
            _settle(watch, memory, descriptors, result)
        log.seek(0)
        if (text := log.read().decode(errors="replace")).count("Traceback"):
            result.faults.append("the log has a traceback:\n" + text[text.index("Traceback") :][:3000])
    return result


def _settle(watch: Watch, memory: int, descriptors: int, result: Result) -> None:
    """Waits until memory and descriptors are back within a tenth of their first values."""

    def is_settled() -> bool:
        return watch.resident() <= GROWTH * memory + 2**25 and watch.descriptors() <= GROWTH * descriptors + 2

    try:
        until(is_settled)
    except TimeoutError:
        result.faults.append(
            f"resident {memory >> 20} -> {watch.resident() >> 20} MiB, "
            f"descriptors {descriptors} -> {watch.descriptors()}"
        )


def report(result: Result) -> str:
    """Returns counts by form and status as a table, then the faults."""
    statuses = sorted({status for _, status in result.counts})
    lines = [f"{'form':9}" + "".join(f"{status:>11}" for status in statuses)]
    lines += [
        f"{form:9}" + "".join(f"{result.counts[form, status]:>11}" for status in statuses)
        for form in sorted({form for form, _ in result.counts})
    ]
    lines.append(
        f"{result.counts.total()} requests; /livez at most {1000 * result.worst_livez:.0f} ms (seeds up to "
        f"{result.worst_after}), "
        f"resident at most {result.peak / 1e6:.0f} MB; {len(result.faults)} faults"
    )
    return "\n".join([*lines, *result.faults[:40]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="first seed; request i has the seed SEED + i")
    parser.add_argument("--store", type=Path, default=SHIPPED)
    options = parser.parse_args()
    result = fuzz(options.store, options.seed, options.requests)
    print(report(result))
    sys.exit(bool(result.faults))


if __name__ == "__main__":
    main()
