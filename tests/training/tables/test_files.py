"""Files of rows: all formats give the same values, and errors name the damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from training.errors import DataError
from training.tables.files import numbers, texts
from training.tables.opening import open_file

TABLE = pa.table(
    {
        "height": [1.5, None, 3.0],
        "visits": pa.array([0, 7, None], pa.int32()),
        "sex": pa.array(["f", None, "m"]).dictionary_encode(),
        "fit": [True, False, None],
    }
)


def as_csv(folder: Path) -> Path:
    csv.write_csv(TABLE, folder / "x.csv")
    return folder / "x.csv"


def as_parquet(folder: Path) -> Path:
    parquet.write_table(TABLE, folder / "x.parquet", row_group_size=2)
    return folder / "x.parquet"


@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_a_table_gives_numbers_and_texts_with_gaps(write: Callable[[Path], Path], tmp_path: Path) -> None:
    file = open_file(write(tmp_path))
    assert file.rows == 3
    assert list(file.shapes) == ["height", "visits", "sex", "fit"]
    blocks = list(file.blocks(["sex", "height", "visits", "fit"]))
    cells = {name: np.concatenate([numbers(b[name]) for b in blocks]) for name in ("height", "visits")}
    assert np.array_equal(cells["height"], [1.5, np.nan, 3.0], equal_nan=True)
    assert np.array_equal(cells["visits"], [0, 7, np.nan], equal_nan=True)
    labels = {name: [text for b in blocks for text in texts(b[name])] for name in ("sex", "fit", "visits")}
    assert labels == {"sex": ["f", None, "m"], "fit": ["true", "false", None], "visits": ["0", "7", None]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,x\n,y\n", [1.0, np.nan]),
        ("\ufeffa;b\n1,5;x\nNA;y\n", [1.5, np.nan]),  # as spreadsheets in many languages write
        ("a\tb\n 1 \tx\n-2e3\ty\n", [1.0, -2000.0]),
    ],
)
def test_text_is_read_as_people_write_it(text: str, expected: list[float], tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(text)
    (block,) = open_file(path).blocks(["a", "b"])
    assert np.array_equal(numbers(block["a"]), expected, equal_nan=True)
    assert texts(block["b"]) == ["x", "y"]


def test_numbers_that_come_after_a_thousand_empty_cells_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + ",1\n" * 1_000_000 + "2.5,1\n")
    last = [numbers(block["a"]) for block in open_file(path).blocks(["a"])][-1]
    assert last[-1] == 2.5
    assert np.isnan(last[:-1]).all()


def test_arrays_keep_their_rows(tmp_path: Path) -> None:
    pictures = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.savez(tmp_path / "x.npz", picture=pictures, age=np.array([3.0, np.nan]))
    np.save(tmp_path / "y.npy", pictures)
    (block,) = open_file(tmp_path / "x.npz").blocks(["picture", "age"])
    assert np.array_equal(block["picture"], pictures)
    assert np.array_equal(numbers(block["age"]), [3.0, np.nan], equal_nan=True)
    (block,) = open_file(tmp_path / "y.npy").blocks(["y"])
    assert np.array_equal(block["y"], pictures)


def test_a_folder_is_the_one_table_in_it(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "picture.png").touch()
    assert open_file(tmp_path).rows == 1
    (tmp_path / "y.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"must hold one table .*it holds x\.csv, y\.csv"):
        open_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "is empty"),
        ("x.csv", b"a,a\n1,2\n", "the header has 'a' more than once"),
        ("x.csv", b"a,b\n1,2\n3\n", r"row 1 \(counted from 0\) has 1 cells, the header has 2"),
        ("x.csv", b"\xff\xfea\0,\0b\0\n", "is damaged text in utf-16; save it as UTF-8"),
        ("x.parquet", b"PAR1 half a file", "cannot be read"),
        ("x.npz", b"PK\x03\x04 half a file", "cannot be read"),
        ("x.npy", b"\x93NUMPY half a file", "cannot be read"),
        ("x.xls", b"\xd0\xcf\x11\xe0\x00", "is an old Excel book"),
        ("x.bin", b"\x01\x02\x03\x00", "is none of CSV, Parquet, Excel, npz, npy, h5mu, h5ad"),
    ],
)
def test_a_damaged_file_is_refused_by_name(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} ?:?.*{message}"):
        list(open_file(path).blocks(["a", "b"]))


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv cannot be read: No such file"):
        open_file(tmp_path / "gone.csv")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy cannot be read: .*Python objects"):
        open_file(tmp_path / "x.npy")


def test_pickled_arrays_beside_others_are_left_out(tmp_path: Path) -> None:
    objects = np.array([{}] * 20, object)
    np.savez(tmp_path / "x.npz", x=np.arange(20.0), objects=objects)
    file = open_file(tmp_path / "x.npz")
    assert dict(file.shapes) == {"x": ()}
    reason = "it is no array of numbers or text; save text with astype(str)"
    assert f"'objects' is left out: {reason}" in file.report


def test_an_array_with_fields_is_refused_with_a_remedy(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", t=np.zeros(20, [("height", "f4"), ("sex", "U1")]))
    with pytest.raises(DataError, match="save each of its fields as an array"):
        open_file(tmp_path / "x.npz")


def test_arrays_of_different_lengths_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(3), b=np.zeros(4))
    with pytest.raises(DataError, match=r"same number of rows, got \{'a': 3, 'b': 4\}"):
        open_file(tmp_path / "x.npz")
