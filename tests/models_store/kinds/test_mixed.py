"""Rows of mixed columns are read from every form alike, and written with the texts of labels."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from models_store import kinds
from models_store.errors import InputRefused, ManifestError
from tests.models_store.examples import array, mixed_table

TABLE = mixed_table()
NAN = float("nan")
ROW = {"pulse": 50.5, "visits": 2, "stage": "late", "clinic": "7"}
CELLS = [50.5, 2, NAN, NAN, 1, 2]


def npy(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(values))
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROW),
        json.dumps([ROW]),
        json.dumps([50.5, 2, None, None, "late", 7]),
        "pulse,visits,stage,clinic\n50.5,2,late,7\n",
        "clinic,smoker,pulse,stage,visits\n7.0,,50.5, late ,2\n",
        "50.5,2,,,late,7\n",
    ],
)
def test_a_file_is_read_by_column_or_in_the_order_of_columns(content: str) -> None:
    rows = kinds.read_file(TABLE, content.encode())
    np.testing.assert_array_equal(rows, np.array([CELLS], np.float32))
    assert rows.dtype == np.float32


def test_objects_and_lists_are_rows_of_one_request() -> None:
    rows = kinds.read_values(TABLE, [ROW, [50.5, 2, None, None, "late", "7"], {}])
    np.testing.assert_array_equal(rows, np.array([CELLS, CELLS, [NAN] * 6], np.float32))


def test_an_array_holds_the_integers_of_labels() -> None:
    """Labels that read as integers are sent as these, other labels as indices."""
    sent = np.array([[50.5, 2, NAN, NAN, 1, 7]])
    np.testing.assert_array_equal(kinds.rows(TABLE, sent), np.array([CELLS], np.float32))
    np.testing.assert_array_equal(kinds.read_file(TABLE, npy(sent[0])), np.array([CELLS], np.float32))


def test_what_is_written_is_read_again() -> None:
    rows = np.array([CELLS, [60, 0, 0.25, 0, 0, 0]], np.float32)
    suffix, content = TABLE.traits.write(TABLE, rows)
    assert suffix == ".csv"
    assert content.decode().splitlines()[2] == "60,0,0.25,no,early,1"
    np.testing.assert_array_equal(kinds.read_file(TABLE, content), rows)
    plain = [TABLE.traits.plain(TABLE, row) for row in rows]
    assert plain[0] == {**ROW, "bilirubin": None, "smoker": None}
    np.testing.assert_array_equal(kinds.read_values(TABLE, plain), rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"stage": "Late"}, "column 'stage': must be a label ('early', 'late') or an index from 0 to 1"),
        ({"stage": 2}, "column 'stage': must be a label ('early', 'late') or an index from 0 to 1, got 2"),
        ({"clinic": 3}, "column 'clinic': must be a label ('1', '2', '7'), as text or as an integer, got 3"),
        ({"visits": -1}, "column 'visits': a count must be a whole number from 0, got -1"),
        ({"visits": 0.5}, "column 'visits': a count must be a whole number from 0, got 0.5"),
        ({"bilirubin": 0}, "column 'bilirubin': log_normal needs numbers above 0, got 0"),
        ({"pulse": 1e39}, "column 'pulse': values must be finite numbers within float32, got 1e+39"),
        ({"pulse": 10**400}, "column 'pulse': values must be finite numbers within float32"),
        ({"pulse": True}, "column 'pulse': must be a number, got true"),
        ({"pulse": "old"}, "column 'pulse': must be a number, got 'old'"),
        ({"pulse": "50"}, "column 'pulse': must be a number, got '50'"),
        ({"stage": ""}, "column 'stage': must be a label"),
        ({"weight": 3}, "unknown column 'weight'; the columns are pulse, visits, bilirubin"),
        ([1, 2], "a row must be an object by column or a list of 6 cells, got [1, 2]"),
        (3, "a row must be an object by column or a list of 6 cells, got 3"),
    ],
)
def test_a_refusal_names_the_column_and_what_is_accepted(row: Any, message: str) -> None:
    with pytest.raises(InputRefused) as refused:
        kinds.read_values(TABLE, [row])
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"name": "a"}, "column 'a' needs a likelihood of normal, log_normal"),
        ({"name": "a", "likelihood": "bernoulli"}, "got 'bernoulli'"),
        ({"name": "a", "likelihood": "categorical"}, "labels go with the likelihood 'categorical'"),
        ({"name": "a", "likelihood": "normal", "labels": ("x", "y")}, "labels go with the likelihood"),
        ({"name": "a", "likelihood": "categorical", "labels": ("x", "x")}, "must differ"),
        ({"name": "a", "likelihood": "categorical", "labels": ("x",), "ordered": True}, "at least two"),
    ],
)
def test_a_column_of_a_table_has_a_likelihood_that_fits_its_labels(column: Any, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        TABLE.with_changes({"shape": (1,), "columns": [column]})


def test_columns_of_other_kinds_have_no_likelihood() -> None:
    column = {"name": "a", "likelihood": "normal"}
    with pytest.raises(ManifestError, match="in a table alone"):
        array("vector", 1).with_changes({"columns": [column]})
    with pytest.raises(ManifestError, match="goes with the likelihood 'mixed'"):
        array("vector", 1).with_changes({"likelihood": "mixed"})
    with pytest.raises(ManifestError, match="needs columns"):
        TABLE.with_changes({"columns": None})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pulse,visits\n50,many\n", "column 'visits': a cell must be a number or empty, got 'many'"),
        ("pulse,pulse\n50,60\n", "a column of the table is named twice"),
        ("pulse,weight\n50,60\n", "unknown column 'weight'"),
        ("50,2\n", "a row must have 6 cells, got 2"),
        ("", "the file is empty|the table is empty"),
        ("[1, 2", "damaged JSON"),
    ],
)
def test_a_table_of_text_is_refused_by_its_column(content: str, message: str) -> None:
    with pytest.raises(InputRefused, match=message):
        kinds.read_file(TABLE, content.encode())
