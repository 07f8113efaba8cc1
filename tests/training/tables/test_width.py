"""`init` is linear in the number of columns: counted in function calls and rows read, not in seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from models_store.tables.text import TextSource
from training.tables.guess import guess

ROWS = 40
WIDTHS = (120, 240, 480)


def csv(path: Path, cells: Any) -> Path:
    header = ",".join(f"g{at}" for at in range(cells.shape[1]))
    path.write_text("\n".join([header, *(",".join(row) for row in cells)]) + "\n")
    return path


def numbers(path: Path, width: int) -> Path:
    return csv(
        path.with_suffix(".csv"), np.random.default_rng(0).normal(size=(ROWS, width)).round(3).astype(str)
    )


def with_gaps(path: Path, width: int) -> Path:
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(ROWS, width)).round(3).astype(str)
    return csv(path.with_suffix(".csv"), np.where(rng.random(cells.shape) < 0.1, "NA", cells))


def counts(path: Path, width: int) -> Path:
    return csv(path.with_suffix(".csv"), np.random.default_rng(0).poisson(40, (ROWS, width)).astype(str))


def labels(path: Path, width: int) -> Path:
    return csv(path.with_suffix(".csv"), np.random.default_rng(0).choice(["low", "high"], (ROWS, width)))


def typed(path: Path, width: int) -> Path:
    values = np.random.default_rng(0).normal(size=(ROWS, width))
    parquet.write_table(
        pa.table({f"g{at}": values[:, at] for at in range(width)}), path.with_suffix(".parquet")
    )
    return path.with_suffix(".parquet")


def calls_of(function: Callable[[], Any]) -> int:
    """The number of calls of Python and built-in functions."""
    calls = 0

    def count(_: FrameType, event: str, __: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("write", [numbers, with_gaps, counts, labels, typed])
def test_the_work_of_init_grows_with_the_number_of_columns(
    tmp_path: Path, write: Callable[[Path, int], Path]
) -> None:
    files = [write(tmp_path / f"t{width}", width) for width in WIDTHS]
    guess(files[:1], tmp_path / "e.toml")  # imports
    first, second, third = (calls_of(partial(guess, [file], tmp_path / "e.toml")) for file in files)

    # 240 further columns make twice as many further calls as 120; a square would make four times as many
    assert (third - second) / (second - first) < 2.3


@pytest.mark.parametrize("width", [20, 200])
def test_a_table_of_text_is_read_equally_often_at_every_width(
    tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0
    original = TextSource.rows

    def counted(self: TextSource) -> Any:
        nonlocal passes
        passes += 1
        return original(self)

    monkeypatch.setattr(TextSource, "rows", counted)
    guess([numbers(tmp_path / "t", width)], tmp_path / "e.toml")

    assert passes == 2  # to find the columns, to count their values
