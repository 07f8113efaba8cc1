"""Measures memory growth over 100,000 mixed requests: ``make soak``; ``SOAK_REQUESTS`` shortens it.

Subsets, forms, operations and numbers of rows change from request to request; between the good ones come
requests that are refused and clients that disconnect. Resident memory after the first fifth is compared with
that at the end.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import bundle
from benchmarks.bodies import as_form, as_json, as_npz
from benchmarks.load import drive
from benchmarks.servers import LOAD_CORE, Server, anyview

NAMES = ["image", "front", "side", "top"]
PATHS = ["/encode", "/encode?N=5", "/generate?K=5&fields=mean&gen_mod=image", "/generate?N=2&fields=samples"]
FORMS: list[Callable[..., bytes]] = [as_json, as_form, as_npz]
SECONDS = 5.0
"""Seconds of load between two series of bad requests."""
MOST_GROWTH = 0.05


def main(total: int) -> int:
    os.sched_setaffinity(0, {LOAD_CORE})
    rng = np.random.default_rng(0)
    requests = [mixed(rng) for _ in range(300)]
    with tempfile.TemporaryDirectory() as scratch:
        bundle.publish(Path(scratch), NAMES)
        with anyview(Path(scratch)) as server:
            sent, before = 0, 0.0
            while sent < total:
                sent += round(SECONDS * drive(server.port, requests, 16, SECONDS).rate)
                misbehave(server, requests)
                if not before and sent >= total / 5:
                    before = server.resident_megabytes
            after = server.resident_megabytes
    growth = after / before - 1
    print(f"{sent} requests: {before:.1f} MB after the first fifth, {after:.1f} MB at the end, {growth:+.1%}")
    return int(growth > MOST_GROWTH)


def mixed(rng: np.random.Generator) -> bytes:
    """Returns a valid request: a random subset in a random media type."""
    subset = [name for name in NAMES if rng.random() < 0.5] or [str(rng.choice(NAMES))]
    count = int(rng.integers(1, 6))
    rows = {name: bundle.pictures(rng, count) for name in subset}
    return FORMS[rng.integers(len(FORMS))](rows, path=PATHS[rng.integers(len(PATHS))])


def misbehave(server: Server, requests: list[bytes]) -> None:
    """Cuts requests halfway, disconnects before a response, and sends images of a wrong shape."""
    for content in requests[:50]:
        for share in (0.5, 1.0):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(content[: int(share * len(content))])
    bad = as_json({"image": np.zeros((1, 3, 3), np.uint8)})
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(bad)
            status = connection.recv(4096).split()[1]
            if status != b"422":
                raise RuntimeError(f"a wrong shape was answered with {status!r}")


if __name__ == "__main__":
    sys.exit(main(int(os.environ.get("SOAK_REQUESTS", "100000"))))
