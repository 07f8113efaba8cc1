"""`init` reads tables of every format, and says what it took as missing and what it left out."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from training.errors import DataError, ExperimentError
from training.tables.guess import experiment_for

ROWS = 40
HEIGHTS = [150.5 + 0.7 * (row * 37 % 40) for row in range(ROWS)]


def text_of(path: Path) -> str:
    return experiment_for([path], path.with_suffix(".toml"))


def test_cells_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    cells = ["." if row % 10 == 0 else f"{height}" for row, height in enumerate(HEIGHTS)]
    (tmp_path / "x.csv").write_text(
        "\n".join(["height,sex", *(f"{cell},{'mf'[i % 2]}" for i, cell in enumerate(cells))])
    )
    text = text_of(tmp_path / "x.csv")
    assert "# how cells were read:" in text
    assert "taken as missing: '.'" in text
    assert text.count('kind = "category"') == 1  # the sex; a height is no category of its cells


@pytest.mark.parametrize(
    ("column", "expected"),
    {
        "booleans": (pa.array([True, False, None, True] * (ROWS // 4)), 'kind = "category"'),
        "half precision": (pa.array(HEIGHTS).cast(pa.float16()), 'name = "odd"'),
        "infinity": (pa.array([float("inf"), *HEIGHTS[1:]]), 'name = "odd"'),
        "lists of one length": (pa.array([[1.0, 2.0, 3.0 + i] for i in range(ROWS)]), 'kind = "vector"'),
        "structs": (pa.array([{"a": i} for i in range(ROWS)]), "'odd' is left out"),
        "blobs": (pa.array([b"\xff\xfe" * i for i in range(ROWS)]), "'odd' is left out"),
        "maps": (
            pa.array([[("a", i)] for i in range(ROWS)], pa.map_(pa.string(), pa.int64())),
            "'odd' is left out",
        ),
    }.values(),
    ids=["booleans", "half precision", "infinity", "lists of one length", "structs", "blobs", "maps"],
)
def test_parquet_columns_of_every_type_are_read_or_left_out_with_a_reason(
    tmp_path: Path, column: pa.Array, expected: str
) -> None:
    parquet.write_table(pa.table({"height": HEIGHTS, "odd": column}), tmp_path / "x.parquet")
    text = text_of(tmp_path / "x.parquet")
    assert 'name = "height"' in text
    assert expected in text


def test_files_in_an_archive_that_are_no_arrays_are_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", height=np.array(HEIGHTS))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("README.txt", "about these data")
    text = text_of(tmp_path / "x.npz")
    assert 'name = "height"' in text
    assert "'README.txt' is left out: it is no array" in text


def test_an_archive_without_arrays_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("table.csv", "a,b")
    with pytest.raises(DataError, match=r"holds no arrays.*unpack"):
        text_of(tmp_path / "x.zip")


def test_two_columns_of_one_name_are_refused_in_one_sentence(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(HEIGHTS), pa.array(HEIGHTS)], ["height", "height"])
    parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises((DataError, ExperimentError), match="height"):
        text_of(tmp_path / "x.parquet")
