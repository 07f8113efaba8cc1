"""Vectors and counts as people write them; nothing where a number could be is a missing cell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_store.errors import InputRefused, UnreadableFile, WrongValue
from models_store.kinds import read_file, read_values
from models_store.manifest import Modality
from tests.models_store.examples import array, counts, rows_or_refusal, with_columns

BODY = with_columns("height", "mass", "age")
PLAIN = array("vector", 3)
NAN = math.nan

READ: dict[str, tuple[str, list[list[float]]]] = {
    "a list": ("[1, 2.5, 3]", [[1, 2.5, 3]]),
    "several lists": (" [[1, 2.5, 3],\n [4, null, 6]]", [[1, 2.5, 3], [4, NAN, 6]]),
    "an object": ('{"mass": 2.5, "height": 1, "age": 3}', [[1, 2.5, 3]]),
    "part of an object": ('{"mass": 2.5, "age": null}', [[NAN, 2.5, NAN]]),
    "several objects": ('[{"height": 1}, {"mass": 2, "age": 3}]', [[1, NAN, NAN], [NAN, 2, 3]]),
    "lists and objects": ('[{"height": 1}, [1, 2, 3]]', [[1, NAN, NAN], [1, 2, 3]]),
    "CSV": ("height,mass,age\n1,2.5,3\n4,,6\n", [[1, 2.5, 3], [4, NAN, 6]]),
    "CSV in another order": ("age,height\r\n3, 1e0\r\n", [[1, NAN, 3]]),
    "CSV with a mark of its bytes' order": ("\ufeffage\n3\n", [[NAN, NAN, 3]]),
    "CSV without a header": ("1,2.5,3\n4,,-6", [[1, 2.5, 3], [4, NAN, -6]]),
    "quoted CSV": ('"height","age"\n"1","3"\n', [[1, NAN, 3]]),
    "a header alone": ("height,mass,age\n", []),
}


@pytest.mark.parametrize(("text", "rows"), READ.values(), ids=READ)
def test_text_in_many_forms_is_rows(text: str, rows: list[list[float]]) -> None:
    read = read_file(BODY, text.encode())
    assert read.dtype == np.float32
    assert read.shape == (len(rows), 3)
    np.testing.assert_array_equal(read, np.reshape(rows, (-1, 3)))


def test_columns_without_names_are_numbered() -> None:
    assert read_file(PLAIN, b'{"0": 5, "2": 7}').tolist()[0][::2] == [5, 7]


def test_columns_named_by_numbers_are_a_header() -> None:
    years = with_columns("2020", "2021")
    assert read_file(years, b"2021,2020\n1,2\n").tolist() == [[2, 1]]
    assert read_file(years, b"3,4\n1,2\n").tolist() == [[3, 4], [1, 2]]


def test_counts_are_read_like_vectors() -> None:
    assert read_file(counts(2), b"3,0\n").tolist() == [[3, 0]]
    assert read_values(counts(2), [[3, 0], {"1": 4, "0": 2}]).tolist() == [[3, 0], [2, 4]]


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_numbers_on_a_log_scale_are_above_0_or_missing(value: float) -> None:
    tailed = BODY.with_changes({"likelihood": "log_normal"})
    assert np.array_equal(read_values(tailed, [[1, None, 3]]), [[1, NAN, 3]], equal_nan=True)
    for read in (
        lambda: read_values(tailed, [[1, value, 3]]),
        lambda: read_file(tailed, f"1,{value},3".encode()),
    ):
        with pytest.raises(WrongValue, match=r"has numbers above 0 \(log_normal\), got"):
            read()


def test_an_object_is_a_row_of_a_json_body() -> None:
    rows = read_values(BODY, [{"mass": 2, "age": 1}, [1, 2, 3]])
    np.testing.assert_array_equal(rows, [[NAN, 2, 1], [1, 2, 3]])


REFUSED: dict[str, tuple[bytes, type[InputRefused], str]] = {
    "an unknown column": (
        b"height,weight\n1,2",
        WrongValue,
        "unknown column 'weight'; the columns are height",
    ),
    "an unknown key": (b'{"weight": 2}', WrongValue, "unknown column 'weight'; the columns are height, mass"),
    "a column twice": (b"age,age\n1,2", WrongValue, "a column of the table is named twice"),
    "a word": (
        b"age\nold",
        WrongValue,
        "line 0 of numbers (counted from 0): a cell must be a number or empty, got",
    ),
    "an underscore": (b"age\n1_000", WrongValue, "a cell must be a number or empty, got '1_000'"),
    "infinity": (b"age\ninf", WrongValue, "must be finite"),
    "text in JSON": (b'["a", 1, 2]', WrongValue, "must be nested arrays of numbers"),
    "too few": (b"[1, 2]", WrongValue, "rows must have the shape (3,)"),
    "too many cells": (b"1,2,3,4", WrongValue, "rows must have the shape (3,)"),
    "ragged lists": (b"[[1, 2, 3], [1, 2]]", WrongValue, "same length"),
    "short beside an object": (b'[{"age": 1}, [1]]', WrongValue, "rows must have the shape (3,)"),
    "a short line": (
        b"height,mass\n1\n",
        UnreadableFile,
        "line 1 (counted from 0) has 1 cells, line 0 has 2",
    ),
    "damaged JSON": (b"[1, 2", UnreadableFile, "damaged JSON"),
    "deep JSON": (b"[" * 100_000, UnreadableFile, "damaged JSON"),
    "blank": (b"\n\r\n", UnreadableFile, "the table is empty"),
    "bytes": (b"\x89PNG\r\n\x1a\n", UnreadableFile, "must be text (UTF-8) or .npy, got the bytes b'\\x89PNG"),
    "a long line": (b"1," * 3_000_000, UnreadableFile, "a line of a table may have 4194304 characters"),
    "a long cell": (b"1" * 200_000, UnreadableFile, "damaged CSV: field larger than field limit"),
}


@pytest.mark.parametrize(("content", "error", "sentence"), REFUSED.values(), ids=REFUSED)
def test_text_that_is_no_row_is_refused(content: bytes, error: type[InputRefused], sentence: str) -> None:
    with pytest.raises(error) as refused:
        read_file(BODY, content)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["age", "x"]), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("modality", [BODY, PLAIN, counts(2)], ids=["named", "plain", "counts"])
@given(
    content=st.text(alphabet='agehit,0123.-\n"[]{}: ', max_size=30).map(str.encode) | st.binary(max_size=50)
)
def test_any_bytes_give_rows_or_are_refused(modality: Modality, content: bytes) -> None:
    rows = rows_or_refusal(read_file, modality, content)
    if isinstance(rows, str):
        assert 0 < len(rows) < 400
        assert "\n" not in rows
    else:
        assert rows.shape[1:] == modality.shape


@given(values=st.lists(json_like, max_size=3))
def test_any_values_give_rows_or_are_refused(values: list[Any]) -> None:
    rows = rows_or_refusal(read_values, BODY, values)
    assert isinstance(rows, str) or rows.shape == (len(values), 3)
