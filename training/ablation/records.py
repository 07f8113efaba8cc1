"""Results of runs, one JSON line each, appended when a run ends, so that a stopped study can resume."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

HERE = Path(__file__).parent

Case = Mapping[str, Any]
"""Settings that identify a run."""


@dataclass(frozen=True)
class Record:
    """One run.

    Arguments:
        case: Settings of the run.
        results: Metrics by name.
        seconds: Duration of the run.
    """

    case: Case
    results: Mapping[str, float]
    seconds: float


def read(path: Path) -> list[Record]:
    """Reads the runs of a file in order; none if there is no file."""
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [Record(line["case"], line["found"], line["seconds"]) for line in lines]


def append(path: Path, record: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {name: round(value, 5) for name, value in record.results.items()}
    line = {"case": dict(record.case), "found": results, "seconds": round(record.seconds, 1)}
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def done(path: Path, case: Case) -> bool:
    """Whether the file has a run of this case."""
    return any(record.case == json.loads(json.dumps(case)) for record in read(path))


def table(records: Sequence[Record], by: Sequence[str], columns: Sequence[str] | None = None) -> str:
    """Returns a Markdown table of mean ± standard deviation, a row per combination of ``by``.

    Arguments:
        records: Runs to show.
        by: Keys of the cases, the first columns.
        columns: Names of results; default: all, in order of first appearance.
    """
    names = columns or list(dict.fromkeys(name for record in records for name in record.results))
    grouped: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        grouped.setdefault(tuple(_text(record.case.get(key)) for key in by), []).append(record)
    head = [*by, "runs", *names]
    lines = [head, ["---"] * len(by) + ["---:"] * (1 + len(names))]
    for key, runs in grouped.items():
        lines.append([*key, str(len(runs)), *(spread(_values(runs, name)) for name in names)])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def spread(values: Sequence[float]) -> str:
    """Returns mean ± standard deviation, with one digit from 20 on, else three."""
    if not values:
        return "–"
    digits = 1 if abs(fmean(values)) >= 20 else 3
    mean = f"{fmean(values):.{digits}f}"
    return f"{mean} ± {stdev(values):.{digits}f}" if len(values) > 1 else mean


def mean_of(runs: Iterable[Record], name: str) -> float:
    return fmean(_values(runs, name))


def _values(runs: Iterable[Record], name: str) -> list[float]:
    return [run.results[name] for run in runs if name in run.results]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
