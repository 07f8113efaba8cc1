"""Measures the service as ratios to alternatives: ``make bench-service``.

The servers run on one core, the load generator on another. What is compared alternates within a round,
and the median over the rounds of the ratios counts: a busy machine slows both. Rates are requests per
second of the server's processor time: on an idle core that is requests per second, and on a core that
others use as well it leaves out what they took.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import bundle
from benchmarks.bodies import as_form, as_json, as_npz, as_oip_binary
from benchmarks.load import Load, drive
from benchmarks.servers import LOAD_CORE, SERVER_CORE, Server, anyview, rival
from models_store.folder import SHIPPED, names
from models_store.manifest import encoder_file
from service.engine.sessions import Session

CONNECTIONS = 16
FORMS: Mapping[str, tuple[Callable[..., bytes], float, float]] = {
    "OIP binary": (as_oip_binary, 0.70, 2.5),
    "npz": (as_npz, 0.55, 3.0),
    "JSON": (as_json, 0.55, 3.0),
    "multipart": (as_form, 0.45, 3.0),
}
"""By name: how it is written, and the goals for the rate and for the time of a lone request."""


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


def main(rounds: int, seconds: float) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        one, four = Path(scratch) / "one", Path(scratch) / "four"
        encoder = bundle.publish(one, ["image"]) / encoder_file("image")
        names = ["image", "front", "side", "top"]
        bundle.publish(four, names)
        lines = [
            *rates(one, encoder, rng, rounds, seconds),
            many_rows(one, encoder, rng, rounds, seconds),
            mixed_subsets(four, names, rng, rounds, seconds),
            *start(one, rounds),
        ]
    print(f"{platform.machine()}, {_processor()}, Python {platform.python_version()}; {rounds} rounds\n")
    print("| What | Median | Range | Goal | Met |\n| --- | --- | --- | --- | --- |")
    print("\n".join(map(str, lines)))


def rates(one: Path, encoder: Path, rng: np.random.Generator, rounds: int, seconds: float) -> list[Line]:
    """One row a request, in every form that is accepted: 16 connections, and a lone one."""
    row = {"image": bundle.pictures(rng, 1)}
    with ExitStack() as servers:
        ours = servers.enter_context(anyview(one, "--default-model", bundle.NAME))
        empty = servers.enter_context(rival("empty", encoder))
        plain = servers.enter_context(rival("plain", encoder))
        forms = {name: form for name, form in FORMS.items() if _accepted(ours, form[0](row))}
        busy: dict[str, list[float]] = {}
        lone: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, (write, _, _) in forms.items():
                mine, theirs = write(row), write(row, path="/encode")
                rate = _rate(ours, mine, seconds)
                busy.setdefault(f"{name} ÷ empty", []).append(rate / _rate(empty, theirs, seconds))
                slowness = _lone(ours, mine, seconds).p50 / _lone(empty, theirs, seconds).p50
                lone.setdefault(name, []).append(slowness)
                if name in ("JSON", "multipart"):
                    path = "/encode" if name == "JSON" else "/encode_file"
                    rival_rate = _rate(plain, write(row, path=path), seconds)
                    busy.setdefault(f"{name} ÷ plain", []).append(rate / rival_rate)
        litserve = servers.enter_context(rival("litserve", encoder))
        for _ in range(rounds):
            rate = _rate(ours, as_json(row), seconds)
            busy.setdefault("JSON ÷ litserve", []).append(rate / _rate(litserve, as_json(row), seconds))
    goals = {f"{name} ÷ empty": rate for name, (_, rate, _) in FORMS.items()}
    goals |= {"JSON ÷ plain": 3.0, "multipart ÷ plain": 3.0, "JSON ÷ litserve": 5.0}
    words = {
        "empty": "an empty FastAPI route",
        "plain": "plain FastAPI + onnxruntime",
        "litserve": "LitServe",
    }
    lines = []
    for what, values in busy.items():
        form, _, other = what.partition(" ÷ ")
        lines.append(Line(f"requests/s, {form} ÷ {words[other]}", values, goals[what]))
    return lines + [
        Line(f"lone request, p50, {name} ÷ the empty route", values, FORMS[name][2], ceiling=True)
        for name, values in lone.items()
    ]


def many_rows(one: Path, encoder: Path, rng: np.random.Generator, rounds: int, seconds: float) -> Line:
    """256 rows a request, as arrays in and out, against the bare session on the same core."""
    rows = {"image": bundle.pictures(rng, 256)}
    session = Session(encoder.read_bytes())
    ratios = []
    with anyview(one) as ours:
        content = as_npz(rows) if _accepted(ours, as_npz(rows)) else as_form(rows, accept="application/x-npz")
        for _ in range(rounds):
            rate = 256 * _rate_of(ours, [content], 4, seconds)
            os.sched_setaffinity(0, {SERVER_CORE})
            ratios.append(rate / _bare(session, rows["image"], seconds))
            os.sched_setaffinity(0, {LOAD_CORE})
    return Line("rows/s at 256 rows a request ÷ the bare session", ratios, 0.8)


def mixed_subsets(
    four: Path, names: Sequence[str], rng: np.random.Generator, rounds: int, seconds: float
) -> Line:
    """Requests of 4 rows, each with a random subset of four modalities, against complete ones."""
    complete, mixed = [], []
    for _ in range(64):
        rows = {name: bundle.pictures(rng, 4) for name in names}
        subset = [name for name in names if rng.random() < 0.5] or [str(rng.choice(names))]
        complete.append(as_form(rows))
        mixed.append(as_form({name: rows[name] for name in subset}))
    with anyview(four) as ours:
        ratios = [
            _rate_of(ours, mixed, CONNECTIONS, seconds) / _rate_of(ours, complete, CONNECTIONS, seconds)
            for _ in range(rounds)
        ]
    return Line("rows/s, mixed subsets of four modalities ÷ all complete", ratios, 0.9)


def start(one: Path, rounds: int) -> list[Line]:
    """Until /readyz says yes, and the memory then; of the shipped models where there are any."""
    shipped = bool(names(SHIPPED))
    seconds, memory = [], []
    for _ in range(rounds):
        with anyview(None if shipped else one) as server:
            seconds.append(server.start_seconds)
            memory.append(server.resident_megabytes)
    what = "the shipped models" if shipped else "the model of this benchmark"
    return [
        Line(f"start to ready, {what}", seconds, 2.5, ceiling=True, unit=" s"),
        Line(f"resident memory, {what}", memory, 220, ceiling=True, unit=" MB"),
    ]


def _rate(server: Server, content: bytes, seconds: float) -> float:
    return _rate_of(server, [content], CONNECTIONS, seconds)


def _rate_of(server: Server, contents: Sequence[bytes], connections: int, seconds: float) -> float:
    before = server.cpu_seconds
    answered = drive(server.port, contents, connections, seconds).answered
    return answered / (server.cpu_seconds - before)


def _lone(server: Server, content: bytes, seconds: float) -> Load:
    return drive(server.port, [content], 1, seconds / 2)


def _accepted(server: Server, content: bytes) -> bool:
    try:
        drive(server.port, [content], 1, 0.05)
    except RuntimeError:
        return False
    return True


def _bare(session: Session, rows: bundle.Array, seconds: float) -> float:
    begin = time.process_time()
    batches = 0
    while time.process_time() < begin + seconds:
        session.run(rows)
        batches += 1
    return batches * len(rows) / (time.process_time() - begin)


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
