"""Measures the service as ratios to what an expert would write instead: ``make bench-service``.

The servers run on one core, the load generator on another. What is compared alternates within a round,
and the median over the rounds of the ratios counts: a busy machine slows both. Rates are requests per
second of the server's processor time: on an idle core that is requests per second, and on a core that
others use as well it leaves out what they took. The model has four modalities; requests hold a picture of
one of them, and both sides draw z and explain nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import bundle, ending
from benchmarks.bodies import as_form, as_json, as_npz, as_oip_binary, as_raw
from benchmarks.load import drive
from benchmarks.rival_model import K, N
from benchmarks.servers import LOAD_CORE, Server, anyview, rival
from models_store.folder import SHIPPED, names

MODALITIES = ["image", "front", "side", "top"]
FIELDS = "fields=z&fields=mu&fields=log_var"
GENERATE = f"gen_mod=image&N={N}&K={K}"


@dataclass(frozen=True)
class Line:
    """One line of the table; of the goals some are floors and some ceilings."""

    what: str
    values: Sequence[float]
    goal: float
    ceiling: bool = False
    unit: str = ""

    def __str__(self) -> str:
        value = statistics.median(self.values)
        met = value <= self.goal if self.ceiling else value >= self.goal
        goal = f"{'≤' if self.ceiling else '≥'} {self.goal:g}{self.unit}"
        spread = f"{min(self.values):.2f}–{max(self.values):.2f}"
        return f"| {self.what} | {value:.2f}{self.unit} | {spread} | {goal} | {'yes' if met else '**no**'} |"


class Comparison(NamedTuple):
    """Requests per second of processor time, ours ÷ those of a rival.

    Arguments:
        what: Description of the request.
        rival: Name of the rival in ``benchmarks.rivals``.
        ours: Request to the service.
        theirs: The same request to the rival.
        goals: Smallest ratio, by number of connections.
    """

    what: str
    rival: str
    ours: bytes
    theirs: bytes
    goals: dict[int, float]


def comparisons(rng: np.random.Generator) -> list[Comparison]:
    """The requests that are compared."""
    one, many = ({"image": bundle.pictures(rng, rows)} for rows in (1, 256))
    binary, raw = as_oip_binary(one), as_raw(one, "/bin")
    json, plain_json = as_json(one, f"/encode?{FIELDS}"), as_json(one, "/json")
    return [
        Comparison("OIP binary", "expert", binary, raw, {1: 0.9, 16: 1.2, 64: 1.2}),
        Comparison("OIP binary", "asgi", binary, raw, {1: 0.5, 16: 0.8, 64: 0.8}),
        Comparison("OIP binary", "empty", binary, as_raw(one, "/encode"), {16: 0.7}),
        Comparison("npz", "expert", as_npz(one, f"/encode?{FIELDS}"), raw, {16: 1.0}),
        Comparison("JSON", "expert", json, plain_json, {1: 0.8, 16: 1.3}),
        Comparison("JSON", "litserve", json, as_json(one), {16: 5.0}),
        Comparison("OIP binary, 256 rows", "expert", as_oip_binary(many), as_raw(many, "/bin"), {4: 1.0}),
        Comparison(
            f"/generate, N = {N}, K = {K}, JSON",
            "expert",
            as_json(one, f"/generate?{GENERATE}"),
            as_json(one, "/generate"),
            {1: 0.9, 16: 1.2},
        ),
    ]


def main(rounds: int, seconds: float) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch)
        folder = bundle.publish(store, MODALITIES)
        lines = [
            *rates(store, folder, rng, rounds, seconds),
            mixed_subsets(store, rng, rounds, seconds),
            *start(store, rounds),
            lost(store, rng, rounds),
        ]
    print(f"{_setting()}; {rounds} rounds\n")
    print("| What | Median | Range | Goal | Met |\n| --- | --- | --- | --- | --- |")
    print("\n".join(map(str, lines)))


def rates(store: Path, folder: Path, rng: np.random.Generator, rounds: int, seconds: float) -> list[Line]:
    """Every comparison, and the memory of the service after them."""
    compared, lines = comparisons(rng), []
    if importlib.util.find_spec("litserve") is None:
        print("LitServe is not installed: skipped")
        compared = [one for one in compared if one.rival != "litserve"]
    with ExitStack() as servers:
        ours = servers.enter_context(anyview(store, "--default-model", bundle.NAME))
        rivals = {
            name: servers.enter_context(rival(name, folder))
            for name in dict.fromkeys(one.rival for one in compared)
        }
        for one in compared:
            for connections, goal in one.goals.items():
                ratios = [
                    _rate(ours, [one.ours], connections, seconds)
                    / _rate(rivals[one.rival], [one.theirs], connections, seconds)
                    for _ in range(rounds)
                ]
                lines.append(Line(f"{one.what}, {connections} connections ÷ {one.rival}", ratios, goal))
        memory = [ours.resident_megabytes]
    return [*lines, Line("resident memory after these", memory, 200, ceiling=True, unit=" MB")]


def mixed_subsets(store: Path, rng: np.random.Generator, rounds: int, seconds: float) -> Line:
    """Requests of 4 rows, each with a random subset of four modalities, against complete ones."""
    complete, mixed = [], []
    for _ in range(64):
        rows = {name: bundle.pictures(rng, 4) for name in MODALITIES}
        subset = [name for name in MODALITIES if rng.random() < 0.5] or [str(rng.choice(MODALITIES))]
        complete.append(as_form(rows))
        mixed.append(as_form({name: rows[name] for name in subset}))
    with anyview(store) as ours:
        ratios = [_rate(ours, mixed, 16, seconds) / _rate(ours, complete, 16, seconds) for _ in range(rounds)]
    return Line("mixed subsets of four modalities ÷ all complete, 16 connections", ratios, 0.95)


def start(store: Path, rounds: int) -> list[Line]:
    """Until /readyz says yes, and the memory then; of the shipped models where there are any."""
    shipped = bool(names(SHIPPED))
    seconds, memory = [], []
    for _ in range(rounds):
        with anyview(None if shipped else store) as server:
            seconds.append(server.start_seconds)
            memory.append(server.resident_megabytes)
    what = "the shipped models" if shipped else "the model of this benchmark"
    return [
        Line(f"start to ready, {what}", seconds, 1.5, ceiling=True, unit=" s"),
        Line(f"resident memory, {what}", memory, 200, ceiling=True, unit=" MB"),
    ]


def lost(store: Path, rng: np.random.Generator, rounds: int) -> Line:
    """Requests lost at SIGTERM, of 16 clients that keep their connections."""
    request = as_oip_binary({"image": bundle.pictures(rng, 1)})
    counts = []
    for _ in range(rounds):
        with anyview(store) as ours:
            counts.append(ending.count(ours, request, 16)["lost"])
    return Line("requests lost at SIGTERM", counts, 0, ceiling=True)


def _rate(server: Server, contents: Sequence[bytes], connections: int, seconds: float) -> float:
    before = server.cpu_seconds
    answered = drive(server.port, contents, connections, seconds).answered
    return answered / (server.cpu_seconds - before)


def _setting() -> str:
    """Machine, interpreter and its build, and the versions that move the result."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    build = "with PGO" if optimised else "without PGO"
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("onnxruntime", "uvloop", "uvicorn", "fastapi")
    )
    return f"{platform.machine()}, {_processor()}, Python {platform.python_version()} {build}, {versions}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return "unknown processor"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    main(options.rounds, options.seconds)
