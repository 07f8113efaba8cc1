"""A data set of three files, and an experiment on it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from training.config import Experiment

SIZES = {"a.parquet": 130, "deep/b.parquet": 90, "c.pq": 120}
GROUP = 50
"""Rows of a row group."""
TEXT = """
name = "rows"
seed = 3
[data]
source = "dataset"
address = "ADDRESS"
buffer = 60
test = 40
validation = 30
missing = ["-999"]
[modalities.id]
kind = "vector"
columns = [{ name = "id" }]
network = { hidden = [4] }
[modalities.wide]
kind = "vector"
field = "wide"
network = { hidden = [4] }
[modalities.sex]
kind = "category"
field = "sex"
labels = ["f", "m"]
network = { hidden = [4] }
[model]
latent_dim = 2
[fit]
epochs = 2
batch_size = 32
device = "cpu"
[evaluation]
rows = 10
importance_samples = 10
"""


def table_of(first: int, rows: int) -> pa.Table:
    """Rows with their number as ``id``, a vector of it, and a label; some without the others."""
    ids = np.arange(first, first + rows, dtype=float)
    return pa.table(
        {
            "id": ids,
            "wide": pa.array([None if one % 7 == 0 else [one, -one] for one in ids], pa.list_(pa.float64())),
            "sex": pa.array([None, " f", "m", "#N/A"] * (rows // 4) + ["m"] * (rows % 4)),
            "mark": np.where(ids % 5 == 0, -999, ids),
        }
    )


def write(folder: Path, sizes: Mapping[str, int] = SIZES) -> Path:
    first = 0
    for name, rows in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table_of(first, rows), path, row_group_size=GROUP)
        first += rows
    (folder / "_skipped.parquet").write_bytes(b"")
    return folder


def experiment_of(place: object, **changes: object) -> Experiment:
    experiment = Experiment.model_validate(tomllib.loads(TEXT.replace("ADDRESS", str(place))))
    return experiment.model_copy(update={"data": experiment.data.model_copy(update=changes)})
