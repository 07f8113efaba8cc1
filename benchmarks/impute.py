"""Measures ``anyview-serve impute`` of a data set that does not fit in memory: ``make bench-impute``.

Writes files of 8 columns with a fifth of the cells empty, trains a small model of them, and fills the data
set. Reports rows per second of wall time and of processor time, the largest memory of all processes together
(the sum of their proportional set sizes, sampled twice a second), and a digest of the filled files, which is
the same for any engine.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

SECONDS = 0.5
TRAINING_ROWS = 3000
UNITS = {
    "height": (170, 8),
    "mass": (70, 9),
    "waist": (80, 7),
    "iron": (20, 3),
    "zinc": (15, 2),
    "pulse": (70, 10),
}
"""Mean and standard deviation of columns."""


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.impute")
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rows", type=int, default=500_000, help="rows of each file; default: 500000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--K", type=int, default=100, help="draws behind each filled cell; default: 100")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = trained(folder)
        (folder / "rows").mkdir()
        for number in range(options.files):
            write(folder / "rows" / f"part-{number:05}.parquet", options.rows, number * options.rows)
        measure(folder, store, options)


def write(path: Path, rows: int, first: int) -> None:
    """Writes a file of 8 columns: seven numbers and a category that follow from three hidden numbers.

    Arguments:
        path: File to write.
        rows: Number of rows.
        first: Index of the first row in the data set, from which all cells follow.
    """
    hidden = ", ".join(f"{_normal(number)} AS z{number}" for number in range(3))
    columns = []
    for at, (name, (mean, std)) in enumerate(UNITS.items()):
        value = f"{mean} + {std} * (0.9 * z{at % 3} + 0.3 * z{(at + 1) % 3} + 0.3 * {_normal(10 + at)})"
        columns.append(f"CASE WHEN {_uniform(20 + at)} < 0.2 THEN NULL ELSE round({value}, 2) END AS {name}")
    columns.append(
        f"CASE WHEN {_uniform(30)} < 0.2 THEN NULL ELSE round(90 + 9 * z1 - 5 * z2, 1) END AS glucose"
    )
    labels = "CASE WHEN z0 < -0.5 THEN 'low' WHEN z0 < 0.5 THEN 'mid' ELSE 'high' END"
    columns.append(f"CASE WHEN {_uniform(31)} < 0.2 THEN NULL ELSE {labels} END AS degree")
    rows_of = f"SELECT i, {hidden} FROM range({first}, {first + rows}) t(i)"  # noqa: S608 - numbers alone
    query = f"COPY (SELECT {', '.join(columns)} FROM ({rows_of})) TO '{path}' (FORMAT parquet)"  # noqa: S608
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(query)


def _uniform(stream: int) -> str:
    """SQL of a number in (0, 1) that follows from the row."""
    return f"((hash(i * 64 + {stream}) + 1) / 18446744073709551617.0)"


def _normal(stream: int) -> str:
    """SQL of a standard normal number: Box and Muller (1958)."""
    angle = f"2 * pi() * {_uniform(stream + 32)}"
    return f"(sqrt(-2 * ln({_uniform(stream)})) * cos({angle}))"


def trained(folder: Path) -> Path:
    """Store with a model of such rows."""
    write(folder / "cases.parquet", TRAINING_ROWS, 2**40)
    store = folder / "store"
    commands = [
        ["training", "init", "cases.parquet", "--output", "cases.toml"],
        ["training", "fit", "cases.toml", "--store", str(store)],
    ]
    for command in commands:
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
    return store


def measure(folder: Path, store: Path, options: argparse.Namespace) -> None:
    files = [str(folder / "rows"), "--output", str(folder / "filled"), "--seed", "1", "--K", str(options.K)]
    engine = ["--workers", str(options.workers), "--engine", options.engine]
    command = [sys.executable, "-m", "service", "impute", *files, "--store", str(store), *engine]
    before, start = _processor_seconds(), time.perf_counter()
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - our own command
    with sampled(process.pid) as peak:
        code = process.wait()
    seconds, processor = time.perf_counter() - start, _processor_seconds() - before
    if code:
        sys.exit(code)
    rows = options.files * options.rows
    pattern = str(folder / "filled" / "*.parquet")
    ((filled,),) = duckdb.execute("SELECT count(*) FROM read_parquet(?)", [pattern]).fetchall()
    assert filled == rows, f"{filled} rows of {rows}"
    size = sum(path.stat().st_size for path in (folder / "rows").iterdir()) / 2**20
    print(
        f"{rows} rows in {options.files} files, {size:.0f} MiB; {options.engine}, {options.workers} workers"
    )
    print(f"{rows / seconds:.0f} rows/s in {seconds:.0f} s")
    if options.engine == "local":
        print(f"{rows / processor:.0f} rows per second of processor time")
    print(f"{max(peak):.0f} MB at most in all processes")
    print(f"sha256 of the filled files: {_digest(folder / 'filled')}")


def _digest(folder: Path) -> str:
    """A digest of the Parquet files of a folder, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.parquet")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def sampled(session: int) -> Iterator[list[float]]:
    """Samples the memory of the processes of a session, and of those of Ray, in MB."""
    samples, done = [0.0], threading.Event()

    def sample() -> None:
        while not done.wait(SECONDS):
            samples.append(sum(map(_megabytes, _processes(session))))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _processes(session: int) -> Iterator[Path]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                ours = os.getsid(int(folder.name)) == session
                if ours or b"ray::" in (folder / "cmdline").read_bytes()[:5]:
                    yield folder


def _megabytes(folder: Path) -> float:
    with contextlib.suppress(OSError):
        for line in (folder / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    return 0.0


if __name__ == "__main__":
    main()
