"""Measures the service beside other servers of the Open Inference Protocol: KServe's and MLServer.

``python -m benchmarks.protocol_servers --kserve PYTHON --mlserver PYTHON``: interpreters of environments in
which ``kserve`` or ``mlserver``, and ``onnxruntime``, are installed; their requirements exclude those of this
project. All get the same bytes: a picture, or a picture of each of a random subset of four modalities, and
answer with a draw of z and the posterior. MLServer reads no binary tensors. Requests per second of processor
time at 16 connections, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks import bundle
from benchmarks.bodies import as_oip_binary
from benchmarks.load import drive, request
from benchmarks.servers import LOAD_CORE, Server, anyview, other
from models_store.arrays import Array

MODALITIES = ["image", "front", "side", "top"]
CONNECTIONS = 16


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.protocol_servers")
    parser.add_argument("--kserve", metavar="PYTHON")
    parser.add_argument("--mlserver", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    rng = np.random.default_rng(0)
    one, mixed = {"image": bundle.pictures(rng, 1)}, [subset(rng) for _ in range(64)]
    compared = {
        "one picture, JSON": ([as_oip_json(one)], ("kserve", "mlserver")),
        "mixed subsets, JSON": ([*map(as_oip_json, mixed)], ("kserve", "mlserver")),
        "one picture, binary": ([as_oip_binary(one)], ("kserve",)),
        "mixed subsets, binary": ([*map(as_oip_binary, mixed)], ("kserve",)),
    }
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as servers:
        folder = bundle.publish(Path(scratch), MODALITIES)
        ours = servers.enter_context(anyview(Path(scratch)))
        rivals = {
            name: servers.enter_context(other(python, f"benchmarks.{name}_rival", folder))
            for name in ("kserve", "mlserver")
            if (python := getattr(options, name))
        }
        print("| What | Median | Range |\n| --- | --- | --- |")
        for what, (contents, names) in compared.items():
            for name in rivals.keys() & names:
                ratios = [
                    rate(ours, contents, options.seconds) / rate(rivals[name], contents, options.seconds)
                    for _ in range(options.rounds)
                ]
                spread = f"{min(ratios):.1f}–{max(ratios):.1f}"
                print(f"| {what} ÷ {name} | {statistics.median(ratios):.1f} | {spread} |", flush=True)


def subset(rng: np.random.Generator) -> dict[str, Array]:
    """A row of a random subset of the modalities, at least one."""
    names = [name for name in MODALITIES if rng.random() < 0.5] or [str(rng.choice(MODALITIES))]
    return {name: bundle.pictures(rng, 1) for name in names}


def as_oip_json(rows: Mapping[str, Array]) -> bytes:
    """The Open Inference Protocol, values in JSON, asking for the posterior."""
    inputs = [
        {
            "name": name,
            "shape": list(values.shape),
            "datatype": "UINT8",
            "data": values.ravel().tolist(),
        }
        for name, values in rows.items()
    ]
    outputs = [{"name": name} for name in ("z", "mu", "log_var")]
    body = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    return request(f"/v2/models/{bundle.NAME}/infer", body, {"content-type": "application/json"})


def rate(server: Server, contents: list[bytes], seconds: float) -> float:
    """Requests per second of processor time."""
    before = server.cpu_seconds
    answered = drive(server.port, contents, CONNECTIONS, seconds).answered
    return answered / (server.cpu_seconds - before)


if __name__ == "__main__":
    main()
