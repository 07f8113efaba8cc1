"""Sends requests that are large, or absurd in one way each: ``python -m tests.fuzz.heavy [NAME …]``.

Eight clients on one core send requests of a kind for some seconds to a service of its own on another core,
while ``/livez`` and a usual ``/generate`` are asked for. Prints the statuses, the slowest of both, and the
most memory. Exits with 1 where ``/livez`` took over 250 ms, ``/generate`` over 2 s, memory more than
the budget of requests and a quarter, or a response was 5xx. Both cores must be idle.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import struct
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import zstandard

from models_store.folder import SHIPPED
from service.engine.budget import DEFAULT_BYTES
from tests.fuzz.requests import Case
from tests.fuzz.run import Result, Watch, send
from tests.service.running import process_of

CLIENTS, MOST_LIVEZ, MOST_GENERATE = 8, 0.25, 2.0
MOST_BYTES = 1.25 * DEFAULT_BYTES
SERVICE_CORE, CLIENT_CORE = 0, 1
JSON, CSV, NPZ = "application/json", "text/csv", "application/x-npz"
FORM = "multipart/form-data; boundary=B"
ENCODE, GENERATE = "/models/mnist/encode", "/models/mnist/generate"
SCORE, TABLE = "/models/mnist/score", "/models/mfeat/generate"
INFER, LOAD = "/v2/models/mnist/infer", "/v2/repository/models/mnist/load"
LABEL = b'{"inputs":{"label":[7]}}'
LABELLED = {"name": "label", "datatype": "INT64", "shape": [1], "data": [7]}

Maker = Callable[[], bytes]


def http(path: str, body: bytes, media: str = JSON, **headers: str) -> bytes:
    """The bytes of a request."""
    fields = {"content-type": media, "content-length": f"{len(body)}", "connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    head = "\r\n".join([f"POST {path} HTTP/1.1", "host: localhost", *lines, "", ""])
    return head.encode() + body


def inputs(name: str, values: bytes) -> bytes:
    return b'{"inputs":{"%b":[%b]}}' % (name.encode(), values)


def tensor(**changes: object) -> bytes:
    """A request of the Open Inference Protocol for a label, with other fields."""
    outputs = changes.pop("outputs", [])
    sent = {key: value for key, value in {**LABELLED, **changes}.items() if value is not None}
    return json.dumps({"inputs": [sent], "outputs": outputs}).encode()


def binary_texts(count: int) -> bytes:
    head = tensor(datatype="BYTES", shape=[count], data=None, parameters={"binary_data_size": 4 * count})
    return http(INFER, head + bytes(4 * count), inference_header_content_length=f"{len(head)}")


def form(name: str, *contents: bytes) -> bytes:
    part = b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    return b"".join(part % (name.encode(), content) for content in contents) + b"--B--\r\n"


def npy(shape: str, data: bytes) -> bytes:
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def repeated(item: bytes, count: int) -> bytes:
    return b",".join([item] * count)


def numbered(pattern: bytes, count: int) -> bytes:
    return b",".join(pattern % number for number in range(count))


HEAVY: dict[str, Maker] = {
    "gzip of 60 MB of blanks": lambda: http(
        ENCODE, gzip.compress(b" " * 60_000_000), content_encoding="gzip"
    ),
    "gzip of 1 GB": lambda: http(ENCODE, gzip.compress(bytes(10**9)), content_encoding="gzip"),
    "zstd of 60 MB": lambda: http(ENCODE, zstandard.compress(b" " * 60_000_000), content_encoding="zstd"),
    "28 million numbers": lambda: http(ENCODE, inputs("image", repeated(b"1", 28_000_000))),
    "9,000 pictures as JSON": lambda: http(
        ENCODE, inputs("image", repeated(b"[" + repeated(b"0", 784) + b"]", 9000))
    ),
    "5 million labels": lambda: http(ENCODE, inputs("label", repeated(b"7", 5_000_000))),
    "a text of 20 MB": lambda: http(ENCODE, inputs("image", b'"' + b"A" * 20_000_000 + b'"')),
    "2 million texts": lambda: http(ENCODE, inputs("image", repeated(b'"AAAA"', 2_000_000))),
    "base64 with line breaks": lambda: http(
        ENCODE, inputs("image", b'"data:image/png;base64,' + b"A\\n" * 10_000_000 + b'"')
    ),
    "base64 of 54 MB": lambda: http(ENCODE, inputs("image", repeated(b'"%b"' % (b"QUJD" * 13_500), 1000))),
    "a million names": lambda: http(ENCODE, b'{"inputs":{%b}}' % numbered(b'"k%d":[1]', 1_000_000)),
    "a million objects": lambda: http(ENCODE, inputs("image", repeated(b'{"a":1,"b":2}', 1_000_000))),
    "a table of a million columns": lambda: http(
        TABLE, numbered(b"c%d", 10**6) + b"\n" + repeated(b"1", 10**6), CSV
    ),
    "a table of a million rows": lambda: http(TABLE, b"label\n" + b"7\n" * 10**6, CSV),
    "a table of bytes": lambda: http(TABLE, bytes(range(128, 256)) * 80_000, CSV),
    "a table of delimiters": lambda: http(TABLE, (b"a;b,c\td|e" * 50 + b"\n") * 20_000, CSV),
    "a cell of line breaks": lambda: http(TABLE, b'"' + b"\n" * 5_000_000 + b'"', CSV),
    "300,000 parts": lambda: http(ENCODE, form("label", *[b"7"] * 300_000), FORM),
    "900 parts of JSON": lambda: http(
        ENCODE, form("image", *[b"[" + repeated(b"0", 784) + b"]"] * 900), FORM
    ),
    "1,000 parts of 54 KB": lambda: http(ENCODE, form("image", *[b"1," * 27_000] * 1000), FORM),
    "a label of 54 MB": lambda: http(ENCODE, form("label", "é".encode() * 27_000_000), FORM),
    "a part of 54 million lines": lambda: http("/models/mfeat/encode", form("fou", b"\n" * 54_000_000), FORM),
    "a part of 2 million cells": lambda: http("/models/mfeat/encode", form("fou", b"1," * 2_000_000), FORM),
    "20,000 equal outputs": lambda: http(INFER, tensor(outputs=[{"name": "mu"}] * 20_000)),
    "200,000 equal outputs": lambda: http(INFER, tensor(outputs=[{"name": "mu"}] * 200_000)),
    "5,000 equal inputs": lambda: http(INFER, json.dumps({"inputs": [LABELLED] * 5000}).encode()),
    "5 million elements": lambda: http(INFER, tensor(shape=[5_000_000], data=[7] * 5_000_000)),
    "10 million empty texts": lambda: binary_texts(10_000_000),
    "20,000 members": lambda: http(
        ENCODE, zipped({f"a{i}.npy": npy("(1,)", b"1") for i in range(20_000)}), NPZ
    ),
    "an archive of 55 MB": lambda: http(
        ENCODE, zipped({"image.npy": npy("(70000, 28, 28)", bytes(54_880_000))}), NPZ
    ),
    "10,000 draws of 10,000": lambda: http(f"{GENERATE}?N=10000&K=10000", LABEL),
    "a score of 10,000 draws": lambda: http(f"{SCORE}?K=10000", LABEL),
    "64 MB to nowhere": lambda: http("/nowhere", b"a" * 64_000_000),
    "60 MB to load a model": lambda: http(LOAD, b'{"parameters":{"a":"' + b"x" * 60_000_000 + b'"}}'),
    "5,000 requests at once": lambda: (
        http(ENCODE, LABEL, connection="keep-alive") * 5000 + http(ENCODE, LABEL)
    ),
    "chunks of one byte": lambda: (
        http(ENCODE, b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
        + b"".join(b"1\r\n%c\r\n" % byte for byte in LABEL + b" " * 200_000)
        + b"0\r\n\r\n"
    ),
    "999 pictures of the prior": lambda: http(
        "/models/digits/generate?cond_mod=none&n_data=999&gen_mod=image", b"", accept="image/png"
    ),
}


def measure(address: tuple[str, int], process: int, content: bytes, seconds: float) -> tuple[Result, float]:
    """Sends a request again and again from all clients; returns what happened, and the slowest /generate."""
    result, stopped, slowest = Result(), threading.Event(), [0.0]
    usual = Case("generate", http(f"{GENERATE}?gen_mod=image&seed=1", LABEL), True)

    def generate() -> None:
        while not stopped.wait(0.05):
            start = time.monotonic()
            send(address, usual)
            slowest[0] = max(slowest[0], time.monotonic() - start)

    def attack(_: int) -> None:
        while time.monotonic() < end:
            result.counts["heavy", send(address, Case("heavy", content, True))] += 1

    asking, end = threading.Thread(target=generate), time.monotonic() + seconds
    with Watch(address, process, result), ThreadPoolExecutor(CLIENTS) as clients:
        asking.start()
        list(clients.map(attack, range(CLIENTS)))
        stopped.set()
        asking.join()
    return result, slowest[0]


def broken(result: Result, slowest: float) -> list[str]:
    """Names of the promises that did not hold."""
    failed = any(status.startswith("5") and status != "503 retry" for _, status in result.counts)
    promises = {
        "/livez": result.worst_livez <= MOST_LIVEZ and not result.faults,
        "/generate": slowest <= MOST_GENERATE,
        "memory": result.peak <= MOST_BYTES,
        "status": not failed,
    }
    return [name for name, kept in promises.items() if not kept]


def line(name: str, result: Result, slowest: float, faults: Sequence[str]) -> str:
    counts = Counter({status: count for (_, status), count in result.counts.items()})
    statuses = ", ".join(f"{status}: {count}" for status, count in counts.most_common())
    return (
        f"{name:30} /livez {1000 * result.worst_livez:4.0f} ms, /generate {1000 * slowest:5.0f} ms, "
        f"{result.peak / 1e6:5.0f} MB; {statuses}{'; BROKEN: ' if faults else ''}{', '.join(faults)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.fuzz.heavy", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="kinds; default: all")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--store", type=Path, default=SHIPPED)
    options = parser.parse_args()
    if unknown := {*options.names} - {*HEAVY}:
        parser.error(f"unknown kinds {sorted(unknown)}; there are {', '.join(HEAVY)}")
    os.sched_setaffinity(0, {SERVICE_CORE})  # the service inherits it
    options_of_service = ("--default-model", "digits", "--allow-loading", "true", "--grace-seconds", "0")
    bad = 0
    with (
        tempfile.TemporaryFile() as log,
        process_of(options.store, *options_of_service, stderr=log) as (address, process),
    ):
        os.sched_setaffinity(0, {CLIENT_CORE})
        at = (urlsplit(address).hostname or "", urlsplit(address).port or 80)
        for name in options.names or HEAVY:
            result, slowest = measure(at, process.pid, HEAVY[name](), options.seconds)
            faults = broken(result, slowest)
            bad += bool(faults)
            print(line(name, result, slowest, faults), flush=True)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
