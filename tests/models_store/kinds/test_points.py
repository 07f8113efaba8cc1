"""A trajectory is its points in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_store.errors import InputRefused
from models_store.kinds import read_file, read_values
from tests.models_store.examples import array, rows_or_refusal

STROKE = array("points", 3, 2)
POINTS = [[0.0, 1.0], [2.5, 3.0], [4.0, 5.0]]


@pytest.mark.parametrize(
    "text",
    [
        "[[0, 1], [2.5, 3], [4, 5]]",
        "[[[0, 1], [2.5, 3], [4, 5]]]",
        "x,y\n0,1\n2.5,3\n4,5\n",
        "0,1\r\n2.5,3\r\n4,5",
    ],
)
def test_points_come_as_json_or_a_table(text: str) -> None:
    assert read_file(STROKE, text.encode()).tolist() == [POINTS]


def test_json_holds_several_rows() -> None:
    assert read_file(STROKE, f"[{POINTS}, {POINTS}]".encode()).tolist() == [POINTS, POINTS]
    assert read_values(STROKE, [POINTS, POINTS]).tolist() == [POINTS, POINTS]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"0,1\n2,3", "rows must have the shape (3, 2), got an array of shape (1, 2, 2)"),
        (b"[[0, 1], [2, 3]]", "rows must have the shape (3, 2)"),
        (b"0,1,2\n3,4,5\n6,7,8", "rows must have the shape (3, 2)"),
        (b"y,x\n0,1\n2,3\n4,5", "a cell must be a number or empty, got 'y'"),
        (b"0,1\n2,\n4,5", "values must be finite numbers"),
        (b"[[0, 1], [2, null], [4, 5]]", "values must be finite numbers"),
        (b'{"x": 1}', "must be nested arrays of numbers"),
        (b"\n", "the table is empty"),
        (b"x,y\n", "rows must have the shape (3, 2), got an array of shape (1, 0, 2)"),
        (b"\xff\xd8\xff", "must be text (UTF-8) or .npy"),
    ],
)
def test_what_is_no_trajectory_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(InputRefused) as refused:
        read_file(STROKE, content)
    assert sentence in str(refused.value)


@given(content=st.text(alphabet="xy,0123.-\n[] ", max_size=30).map(str.encode) | st.binary(max_size=50))
def test_any_bytes_give_rows_or_are_refused(content: bytes) -> None:
    rows = rows_or_refusal(read_file, STROKE, content)
    assert isinstance(rows, str) or rows.shape[1:] == (3, 2)
