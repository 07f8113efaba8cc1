"""Measures ``anyview-serve impute`` of a CSV table beside a loop written by hand.

Rows of the data set mfeat: the six columns of ``mor`` and the label, 30 % of the cells empty, K = 100. Prints
rows per second of processor time of both, start included, in turn.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.data import HOME

STORE = Path(__file__).parents[1] / "models_store" / "bundles"
EMPTY = 0.3


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.impute_table")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    version = max((STORE / "mfeat").iterdir(), key=lambda folder: int(folder.name))
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        table, ours, loop = (Path(scratch) / f"{name}.csv" for name in ("rows", "ours", "loop"))
        write(table, options.rows)
        command = ["service", "impute", table, "--store", STORE, "--model", "mfeat", "--output", ours]
        for _ in range(options.rounds):
            ours.unlink(missing_ok=True)
            by_hand = seconds_of(["benchmarks.impute_loop", version, table, loop])
            imputed = seconds_of([*command, "--seed", "1", "--K", "100"])
            ratios.append(by_hand / imputed)
            print(
                f"{options.rows / imputed:.0f} ÷ {options.rows / by_hand:.0f} rows per processor second",
                flush=True,
            )
    print(
        f"impute ÷ a loop by hand: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def write(path: Path, rows: int) -> None:
    """Writes rows of mfeat, drawn with replacement, of which some cells are empty."""
    data = np.load(HOME / "mfeat" / "mfeat.npz")
    rng = np.random.default_rng(0)
    indices = rng.integers(0, len(data["mor"]), rows)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"mor{number}" for number in range(1, 7)), "label"])
        for values, label in zip(data["mor"][indices], data["labels"][indices], strict=True):
            cells = [*map(repr, values.tolist()), str(label)]
            writer.writerow(
                [cell if shown else "" for cell, shown in zip(cells, rng.random(7) > EMPTY, strict=True)]
            )


def seconds_of(command: Sequence[object]) -> float:
    """Runs a module in a process; returns its processor time, that of its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(  # noqa: S603 - our own programs
        [sys.executable, "-m", *map(str, command)], check=True, env=environment, stderr=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
