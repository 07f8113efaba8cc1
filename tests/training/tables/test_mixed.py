"""``init --table`` makes few views of the kind table."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.tables.guess import guess

ROWS = 60


def write(path: Path, *, gaps: bool) -> None:
    rng = np.random.default_rng(0)
    lines = ["age,bilirubin [mg/dl],sex,stage,visits count,x1,x2,x3"]
    for row in range(ROWS):
        labs = [""] * 3 if gaps and row % 3 == 0 else [f"{value:.3f}" for value in rng.normal(size=3)]
        bilirubin, visits = np.exp(2 * rng.normal()), rng.poisson(12)
        sex, stage = rng.choice(["f", "m"]), rng.integers(1, 5)
        fixed = [f"{rng.normal(60, 9):.1f}", f"{bilirubin:.3f}", sex, stage, visits]
        lines.append(",".join(map(str, [*fixed, *labs])))
    path.write_text("\n".join(lines) + "\n")


def modalities(path: Path, **options: Any) -> dict[str, Any]:
    text = guess([path], path.with_suffix(".toml"), **options).text
    views: dict[str, Any] = tomllib.loads(text)["modalities"]
    return views


def test_all_columns_of_a_file_are_one_table_with_likelihoods_and_labels(tmp_path: Path) -> None:
    write(tmp_path / "clinic.csv", gaps=False)
    (view,) = modalities(tmp_path / "clinic.csv", table=True).values()
    assert view["kind"] == "table"
    columns = {column["name"]: column for column in view["columns"]}
    assert columns["age"] == {"name": "age"}
    assert columns["bilirubin"]["likelihood"] == "log_normal"
    assert columns["bilirubin"]["unit"] == "mg/dl"
    assert columns["sex"]["labels"] == ["f", "m"]
    assert "ordered" not in columns["sex"]
    assert columns["stage"] == {"name": "stage", "labels": ["1", "2", "3", "4"], "ordered": True}
    assert columns["visits count"]["likelihood"] == "poisson"


def test_columns_that_many_rows_lack_together_are_a_table_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "clinic.csv", gaps=True)
    views = modalities(tmp_path / "clinic.csv", table=True)
    assert [view["kind"] for view in views.values()] == ["table", "table"]
    assert [column["name"] for column in views["x1"]["columns"]] == ["x1", "x2", "x3"]


def test_without_the_option_there_is_no_table(tmp_path: Path) -> None:
    write(tmp_path / "clinic.csv", gaps=True)
    assert "table" not in {view["kind"] for view in modalities(tmp_path / "clinic.csv").values()}


@pytest.mark.parametrize("name", ["age", "sex"])
def test_a_column_that_several_files_have_is_spelled_with_its_file(tmp_path: Path, name: str) -> None:
    for stem in ("one", "two"):
        write(tmp_path / f"{stem}.csv", gaps=False)
    text = guess([tmp_path / "one.csv", tmp_path / "two.csv"], tmp_path / "x.toml", table=True).text
    columns = tomllib.loads(text)["modalities"]["two"]["columns"]
    assert next(one["field"] for one in columns if one["name"] == name) == f"two.csv:{name}"
