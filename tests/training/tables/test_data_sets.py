"""Data sets of many Parquet files: their columns, what `init` writes, and what is refused."""

from __future__ import annotations

import shutil
import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.training.data.datasets import experiment_of, table_of, write
from training import data
from training.config import Experiment, ModalityChoice
from training.errors import DataError, ExperimentError
from training.tables.dataset import DataSetFile, is_data_set
from training.tables.draft import Draft, Guess
from training.tables.files import is_numeric, numbers, texts
from training.tables.guess import guess
from training.tables.opening import open_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "rows")


def test_init_writes_an_experiment_of_a_data_set(folder: Path, tmp_path: Path) -> None:
    guessed = guess([str(folder)], tmp_path / "e.toml")
    settings = tomllib.loads(guessed.text)
    assert settings["data"]["source"] == "dataset"
    assert settings["data"]["address"] == str(folder)
    assert guessed.report[0] == "rows: 340 rows, 4 columns"
    assert Experiment.model_validate(settings).model.members == 1  # no other rows of it can be held out
    with pytest.raises(ExperimentError, match="is a data set of many files, whose rows are not joined"):
        guess([str(folder), folder / "a.parquet"], tmp_path / "e.toml")
    with pytest.raises(ExperimentError, match="is a data set of many files, whose rows are not joined"):
        guess([str(folder)], tmp_path / "e.toml", key="id")


def test_a_large_data_set_is_saved_after_parts_of_it(folder: Path, tmp_path: Path) -> None:
    columns = Guess("x", "vector", {"columns": [{"name": "x"}]}, (1,), "")
    for rows, expected in ((500_000, (None, 3)), (10_020_000, (1_000_000, 10)), (10**9, (9_999_800, 100))):
        draft = Draft([folder], tmp_path / "e.toml", {}, None, rows, [columns], {}, address=str(folder))
        settings = tomllib.loads(draft.text())
        assert (settings["data"].get("epoch_rows"), settings["fit"]["epochs"]) == expected


def test_files_with_the_same_columns_may_be_parts_of_one_table(tmp_path: Path) -> None:
    """A shell replaces a pattern without quotes by the files."""
    for name in "ab":
        parquet.write_table(table_of(0, 40), tmp_path / f"{name}.parquet")
    report = guess([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "e.toml").report
    assert any("if each holds rows of one table, name their folder" in line for line in report)


def test_a_folder_with_one_table_is_no_data_set(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "a.parquet", tmp_path)
    assert not is_data_set(str(tmp_path))
    assert not is_data_set(str(folder / "a.parquet"))
    assert is_data_set(str(folder))
    assert is_data_set(f"{folder}/*.parquet")
    assert is_data_set("s3://bucket/rows")


def test_files_of_a_data_set_have_the_same_columns(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "rows")
    parquet.write_table(pa.table({"id": [1.0], "other": [2.0]}), place / "b.parquet")
    expected = r"b\.parquet has other columns than a\.parquet: 'other' \(double\) in the place of 'wide'"
    with pytest.raises(DataError, match=expected):
        DataSetFile(str(place))


def test_a_column_may_be_whole_in_one_file_and_empty_in_another(tmp_path: Path) -> None:
    columns = {
        "a": ([1, 2], ["x", "y"], [[1.0], [2.0]]),
        "b": ([0.5, None], [None, None], [None, None]),
        "c": ([None, None], ["y", "x"], [[3], [4]]),
    }
    for file, (some, labels, lists) in columns.items():
        parquet.write_table(
            pa.table({"n": pa.array(some), "t": pa.array(labels), "v": pa.array(lists)}),
            tmp_path / f"{file}.parquet",
        )
    with pytest.raises(DataError, match=r"c\.parquet has other columns than a\.parquet: 'v'"):
        DataSetFile(str(tmp_path))
    parquet.write_table(
        pa.table({"n": pa.nulls(2), "t": pa.array(["y", "x"]), "v": [[3.0], [4.0]]}), tmp_path / "c.parquet"
    )
    blocks = list(DataSetFile(str(tmp_path)).blocks(["n", "t", "v"]))
    np.testing.assert_array_equal(
        np.concatenate([numbers(block["n"]) for block in blocks]), [1, 2, 0.5] + [np.nan] * 3
    )
    assert [label for block in blocks for label in texts(block["t"])] == ["x", "y", None, None, "y", "x"]
    vectors = np.concatenate([block["v"] for block in blocks])
    np.testing.assert_array_equal(vectors[:, 0], [1, 2, np.nan, np.nan, 3, 4])


CELLS = {
    "whole numbers": pa.array([1, 2, None, 2**60]),
    "unsigned": pa.array([1, 2**63, None, 4], pa.uint64()),
    "numbers": pa.array([1.0, 2.5, None, np.nan, np.inf]),
    "whole floats": pa.array([1.0, 2.0, None]),
    "single precision": pa.array([0.1, 2.5, None], pa.float32()),
    "half precision": pa.array(np.array([0.1, 2.5, 3], np.float16)),
    "decimals": pa.array([Decimal("1.50"), None, Decimal("-3.25")]),
    "truth": pa.array([True, False, None]),
    "text": pa.array([" a", "b ", "", "NA", "#N/A", "null"]),
    "categories": pa.array(["a", "b", None]).dictionary_encode(),
    "large text": pa.array(["a", "b", None], pa.large_string()),
    "dates": pa.array([date(2020, 1, 1), None, date(1999, 1, 1)]),
    "durations": pa.array([1, None, 3], pa.duration("us")),
    "vectors": pa.array([[1.0, 2.0], None, [3.0, 4.0]]),
    "fixed vectors": pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2)),
    "nothing": pa.nulls(3),
    "bytes": pa.array([b"a", None]),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_means_what_it_means_in_one_table(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"x [mg]": CELLS[name], "y": range(len(CELLS[name]))}), path)
    table, many = open_file(path), DataSetFile(str(path))
    assert many.shapes == table.shapes
    assert [many.labels[header] for header in many.shapes] == [
        table.labels[header] for header in table.shapes
    ]
    if "x [mg]" not in table.shapes:
        return
    one, other = (next(iter(file.blocks(["x [mg]"])))["x [mg]"] for file in (table, many))
    if table.shapes["x [mg]"]:
        np.testing.assert_array_equal(other, one)
        return
    assert texts(other) == texts(one)
    if name not in ("nothing", "truth"):
        assert is_numeric(other) == is_numeric(one)
    if is_numeric(one):
        np.testing.assert_array_equal(numbers(other), numbers(one))


def test_a_wrong_cell_is_reported_with_its_file(folder: Path) -> None:
    experiment = experiment_of(folder)
    sex = experiment.modalities["sex"].model_copy(update={"labels": ("f", "x")})
    changed = experiment.model_copy(update={"modalities": {"sex": sex}})
    expected = r"a\.parquet: modality 'sex': column 'sex' has 'm', which is none of its labels"
    with pytest.raises(DataError, match=expected):
        data.prepare(changed)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"address": None}, "data.address must name the folder"),
        ({"limit": 3}, "data.limit is not for the source 'dataset'"),
        ({"paired": 0.5}, "data.paired is not for the source 'dataset'"),
        ({"test": 340}, "hold out 340 and 30 rows, but there are 340"),
    ],
)
def test_settings_that_do_not_suit_are_refused(
    folder: Path, changes: dict[str, object], expected: str
) -> None:
    with pytest.raises(ExperimentError, match=expected):
        data.prepare(experiment_of(folder, **changes))


@pytest.mark.parametrize("address", ["nowhere", "memory://nowhere", "none-such://bucket/rows"])
def test_an_address_without_files_is_refused(address: str) -> None:
    with pytest.raises(DataError, match=address):
        data.prepare(experiment_of(address))


def test_files_that_a_column_names_need_a_table(folder: Path) -> None:
    picture = {"photo": ModalityChoice(kind="image", field="sex", shape=(4, 4))}
    with pytest.raises(ExperimentError, match="a image from files needs the source 'table'"):
        data.prepare(experiment_of(folder).model_copy(update={"modalities": picture}))
