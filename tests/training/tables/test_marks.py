"""Marks for missing values that the user names, in all columns or in one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from tests.training.tables.tables import write
from training.cli import app
from training.config import Data, read_experiment
from training.data import prepare
from training.errors import ExperimentError
from training.tables import opening
from training.tables.files import numbers, texts
from training.tables.marks import Marks, marks_of
from training.tables.opening import open_file

N = 40
RNG = np.random.default_rng(0)
HEIGHT = [-999 if row % 4 == 0 else 150 + row for row in range(N)]


def heights(path: Path, marks: Marks) -> list[float]:
    return [
        cell for block in open_file(path, marks=marks).blocks(["height"]) for cell in numbers(block["height"])
    ]


@pytest.mark.parametrize("mark", ["-999", "-999.0"])
@pytest.mark.parametrize("spelled", ["-999", "-999.0", "-999.000"])
def test_a_number_matches_cells_that_write_it_otherwise(tmp_path: Path, mark: str, spelled: str) -> None:
    cells = [spelled if value == -999 else f"{value}.5" for value in HEIGHT]
    path = write(tmp_path / "t.csv", {"height": cells, "x": range(N)})
    assert np.isnan(heights(path, Marks([mark]))).sum() == N // 4
    assert np.isnan(heights(path, Marks())).sum() == 0


def test_a_decimal_comma_matches_too(tmp_path: Path) -> None:
    rows = "\n".join(f"{value},0;{row}" for row, value in enumerate(HEIGHT))
    (tmp_path / "t.csv").write_text(f"height;x\n{rows}\n")
    assert np.isnan(heights(tmp_path / "t.csv", Marks(["-999"]))).sum() == N // 4


@pytest.mark.parametrize("large", [False, True])
def test_marks_hold_in_parquet(tmp_path: Path, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        monkeypatch.setattr(opening, "LARGE_PARQUET", 0)
    table = {"height": pa.array(HEIGHT, pa.int32()), "word": [["x", "refused"][row % 2] for row in range(N)]}
    parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    file = open_file(tmp_path / "t.parquet", marks=Marks(["-999", "refused"]))
    (block,) = file.blocks(["height", "word"])
    assert np.isnan(numbers(block["height"])).sum() == N // 4
    assert texts(block["word"]) == ["x", None] * (N // 2)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_marks_hold_in_arrays(tmp_path: Path, dtype: Any) -> None:
    matrix = np.ones((N, 3))
    matrix[0, 1] = -999
    np.savez(tmp_path / "t.npz", height=np.array(HEIGHT, dtype), x=matrix)
    (block,) = open_file(tmp_path / "t.npz", marks=Marks(["-999"])).blocks(["height", "x"])
    assert np.isnan(numbers(block["height"])).sum() == N // 4
    assert np.argwhere(np.isnan(block["x"])).tolist() == [[0, 1]]


def test_a_mark_of_one_column_stays_a_value_in_others(tmp_path: Path) -> None:
    days = [99 if row % 5 == 0 else row % 8 for row in range(N)]
    path = write(tmp_path / "t.csv", {"Days": days, "age": [99, *range(20, 59)], "x": RNG.normal(size=N)})
    output = tmp_path / "t.toml"
    result = CliRunner().invoke(app, ["init", str(path), "--output", str(output), "--missing", "Days=99"])
    assert result.exit_code == 0
    assert "'Days': 8 cells hold a mark that missing names" in result.output
    document = tomllib.loads(output.read_text())
    assert document["data"]["missing_by_column"] == {"Days": ["99"]}
    assert document["modalities"]["days"]["labels"] == [str(day) for day in range(8)]
    prepared = prepare(read_experiment(str(output))[0])
    splits = (prepared.train, prepared.validation, prepared.test)
    assert sum(int((~rows.masks["days"]).sum()) for rows in splits) == 8
    assert max(float(rows.data["t"][:, 0].max()) for rows in splits) == 99


def test_the_command_writes_the_marks_of_all_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", {"height": HEIGHT, "x": ["." if row == 3 else row / 7 for row in range(N)]}
    )
    output = tmp_path / "t.toml"
    arguments = ["init", str(path), "--output", str(output), "--missing=-999", "--missing", "."]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert tomllib.loads(output.read_text())["data"]["missing"] == ["-999", "."]
    prepared = prepare(read_experiment(str(output))[0])
    for rows in (prepared.train, prepared.validation, prepared.test):
        values = rows.data["t"].numpy()
        assert np.nanmin(values) >= 0


def test_marks_of_the_command_line() -> None:
    marks = marks_of(["-999", "Days=99", "a=b=c", "Days=98"])
    assert list(marks.everywhere) == ["-999"]
    assert dict(marks.by_column) == {"Days": ["99", "98"], "a=b": ["c"]}


def test_marks_may_be_numbers_and_a_share_is_a_share() -> None:
    marks = Data.model_validate(
        {"source": "table", "missing": [-999, "."], "missing_by_column": {"a": [9.5]}}
    )
    assert (marks.missing, marks.missing_by_column) == (("-999", "."), {"a": ("9.5",)})
    share = Data.model_validate({"source": "mnist", "missing": 0.2})
    assert (share.missing, share.removed) == ((), 0.2)


def test_marks_are_for_tables() -> None:
    experiment, _ = read_experiment("tiny")
    settings = experiment.model_copy(update={"data": experiment.data.model_copy(update={"missing": ("x",)})})
    with pytest.raises(ExperimentError, match=r"data\.missing is for the source 'table'"):
        prepare(settings)
