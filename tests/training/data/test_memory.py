"""A million rows that do not fit in memory are trained on in constant memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from models_store.arrays import Array
from training.data import storage
from training.errors import DataError

COLUMNS = 128
ALLOWED = 256 * 2**20
"""Bytes; half of what a million rows would take."""

PROGRAM = """
import resource, sys
from pathlib import Path
from training import data, fit
from training.config import read_experiment

used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[1]),) * 2)
experiment, _ = read_experiment("x.toml")
prepared = data.prepare(experiment)
fitted = fit.fit(experiment, prepared, Path("run"))
scaling = fitted.model.encoders["x"].inputs.standardise
print(len(prepared.train), *scaling.shift[:2].tolist(), *scaling.scale[:2].tolist())
"""

EXPERIMENT = """
name = "x"
[data]
source = "table"
files = ["FILE"]
test = 1000
validation = 1000
[modalities.x]
kind = "vector"
SAID
network = { hidden = [8] }
[model]
latent_dim = 2
[fit]
epochs = 1
batch_size = 4000
"""


def block(rng: np.random.Generator, rows: int) -> Array:
    """Columns of mean 0, 1, 2, … and standard deviation 2."""
    return 2 * rng.standard_normal((rows, COLUMNS), np.float32) + np.arange(COLUMNS, dtype=np.float32)


def as_npy(rows: int) -> str:
    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap("x.npy", "w+", np.float32, (rows, COLUMNS))
    for start in range(0, rows, 50_000):
        array[start : start + 50_000] = block(rng, 50_000)
    return EXPERIMENT.replace("FILE", "x.npy").replace("SAID", 'field = "x"')


def as_parquet(rows: int) -> str:
    rng = np.random.default_rng(0)
    names = [f"c{number}" for number in range(COLUMNS)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    with parquet.ParquetWriter("x.parquet", schema, compression="none", use_dictionary=False) as file:
        for _ in range(0, rows, 50_000):
            file.write_table(pa.table(dict(zip(names, block(rng, 50_000).T, strict=True))))
    columns = ", ".join(f'{{ name = "{name}" }}' for name in names)
    return EXPERIMENT.replace("FILE", "x.parquet").replace("SAID", f"columns = [{columns}]")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is one of Linux")
@pytest.mark.parametrize(("write", "rows"), [(as_npy, 1_000_000), (as_parquet, 1_000_000)])
def test_rows_that_do_not_fit_in_memory_are_trained_on(
    write: Callable[[int], str], rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.toml").write_text(write(rows))
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, str(ALLOWED)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    for large in tmp_path.glob("x.[np]*"):  # pytest keeps the folder
        large.unlink()
    assert done.returncode == 0, done.stderr
    trained, *scales = map(float, done.stdout.split())
    assert trained == rows - 2000
    assert scales == pytest.approx([0, 1, 2, 2], abs=0.01)
    assert list((tmp_path / "anyview" / "rows").iterdir()) == []


def test_what_is_large_lies_in_a_file_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(storage, "IN_MEMORY", 100)
    small, large = (storage.allocate((rows, 5), np.dtype(np.float32)) for rows in (5, 6))
    assert not isinstance(small, np.memmap)
    assert isinstance(large, np.memmap)
    large[3] = 7
    assert large.sum() == 35
    assert list((tmp_path / "anyview" / "rows").iterdir()) == []


def test_rows_that_no_disk_has_room_for_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"no room for \d+ bytes of rows in"):
        storage.allocate((2**50,), np.dtype(np.float32))
