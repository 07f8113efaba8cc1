"""Data sets of Parquet files, filled as ``anyview-serve impute`` does."""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from service import impute
from service.impute import dataset
from service.impute.engines import Engine
from service.impute.files import ModelLoader
from service.impute.options import FillOptions, parser
from service.impute.progress import Progress

ROWS = 40


def shard(path: Path, rows: int = ROWS, seed: int = 0, **columns: Any) -> Path:
    """A file of three columns with gaps, and a key."""
    rng = np.random.default_rng([seed, rows])
    draws = {name: rng.normal(size=rows) for name in ("height", "mass")}
    numbers = {name: pa.array(column, mask=rng.random(rows) < 0.3) for name, column in draws.items()}
    animal = pa.array(rng.choice(["cat", "dog", "owl"], rows), mask=rng.random(rows) < 0.3)
    key = pa.array(np.arange(rows), pa.int64())
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"key": key, **numbers, "animal": animal, **columns}), path)
    return path


def three_files(folder: Path) -> Path:
    """A data set of three files, one of them in a folder of its own."""
    for number, name in enumerate(["a.parquet", "b.parquet", "day=2/c.parquet"]):
        shard(folder / name, seed=number)
    (folder / "_SUCCESS").touch()
    (folder / ".a.parquet.crc").touch()
    return folder


def fill(store: Path, source: object, output: object, *options: str) -> None:
    """Fills as the command does, with a model that these tests load once."""
    arguments = parser().parse_args([str(source), "--output", str(output), "--K", "4", *options])
    run = dataset.Run(ModelLoader(str(store), "kinds", 1), FillOptions.of(arguments), arguments.seed)
    engine = Engine(arguments.engine, arguments.workers)
    impute.report(*dataset.fill(arguments.file, arguments.output, run, engine, Progress(io.StringIO())))


def files(folder: Path) -> dict[str, str]:
    """Hashes of all files by their path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in paths}
