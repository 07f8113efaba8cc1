"""Text is a label, an integer the label that reads so or else an index; other values are refused."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_store.errors import InputRefused
from models_store.kinds import read_file, read_values, rows
from models_store.kinds.category import samples_as_integers, split
from tests.models_store.examples import category, rows_or_refusal

ANIMALS = category("cat", "dog", "blå hval")
UPSIDE_DOWN = category("2", "1", "0")
LIKERT = category("1", "2", "3", "4", "5")


def test_text_is_a_label() -> None:
    assert read_values(ANIMALS, ["dog", "blå hval", "cat"]).tolist() == [1, 2, 0]


def test_an_integer_is_an_index() -> None:
    assert read_values(ANIMALS, [1, 2, 0]).tolist() == [1, 2, 0]


def test_an_integer_is_the_label_that_reads_so() -> None:
    assert read_values(UPSIDE_DOWN, ["0", 0, "2", 2]).tolist() == [2, 2, 0, 0]
    assert read_values(LIKERT, [1, 5, "1", "5", 1.0, "1.0"]).tolist() == [0, 4, 0, 4, 0, 0]
    assert read_values(category("1.0", "2.0", "4."), [4, "4", "1", 2, "2.0"]).tolist() == [2, 2, 0, 1, 1]
    assert read_values(category("-1", "0", "+1"), [1, -1, 0, "1"]).tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16, np.float32])
def test_an_integer_in_an_array_is_the_label_that_reads_so(dtype: Any) -> None:
    assert rows(LIKERT, np.array([1, 5, 3, 1], dtype)).tolist() == [0, 4, 2, 0]
    stream = io.BytesIO()
    np.save(stream, np.array([1, 5], dtype))
    assert read_file(LIKERT, stream.getvalue()).tolist() == [0, 4]
    assert rows(LIKERT, np.array([], dtype)).tolist() == []


@pytest.mark.parametrize("value", [0, 6, "0", 1.5, True, None, 10**30, math.nan, math.inf])
def test_an_integer_that_no_label_reads_as_is_refused_with_the_labels(value: Any) -> None:
    with pytest.raises(InputRefused, match=r"'1', '2', '3', '4', '5'\), as text or as an integer, got "):
        read_values(LIKERT, [value])


def test_an_integer_in_an_array_that_no_label_reads_as_is_refused_with_the_labels() -> None:
    with pytest.raises(InputRefused, match=r"'1', '2', '3', '4', '5'\), as text or as an integer, got 0"):
        rows(LIKERT, np.array([1, 0]))


def test_an_integer_that_two_labels_read_as_is_refused() -> None:
    codes = category("1", "01", "2")
    assert read_values(codes, ["1", "01", 2]).tolist() == [0, 1, 2]
    for value in (1, "1.0"):
        with pytest.raises(InputRefused, match="as text where several labels read as one integer, got "):
            read_values(codes, [value])


def test_an_integer_is_an_index_where_any_label_is_no_integer() -> None:
    assert read_values(category("3", "2", "unknown"), [0, 2, "3"]).tolist() == [0, 2, 0]
    assert read_values(category("1e3", "2.5"), [1]).tolist() == [1]


@pytest.mark.parametrize("labels", [("false", "true"), ("TRUE", "FALSE", "unknown")])
def test_a_truth_value_is_the_label_that_reads_so(labels: tuple[str, ...]) -> None:
    """Tables of Parquet and JSON hold such, and the rows that are sent later do too."""
    words = [label.casefold() for label in labels]
    expected = [words.index("true"), words.index("false")]
    assert read_values(category(*labels), [True, False]).tolist() == expected
    assert rows(category(*labels), np.array([True, False])).tolist() == expected
    assert read_values(category(*labels), ["True", "fAlse"]).tolist() == expected
    assert read_file(category(*labels), b"true").tolist() == expected[:1]


def test_a_label_is_itself_before_it_is_a_truth_value() -> None:
    labels = category("True", "true", "False")
    assert read_values(labels, ["true", "True", "FALSE"]).tolist() == [1, 0, 2]
    for value in ("TRUE", True):
        with pytest.raises(InputRefused, match="must be a label"):
            read_values(labels, [value])


def test_samples_are_what_a_client_sends() -> None:
    assert samples_as_integers(LIKERT, np.array([[0, 4], [1, 0]])).tolist() == [[1, 5], [2, 1]]
    assert samples_as_integers(ANIMALS, np.array([0, 2])).tolist() == [0, 2]
    probabilities = np.full((1, 2, 5), 0.2)
    assert samples_as_integers(LIKERT, probabilities) is probabilities


@pytest.mark.parametrize("text", ["blå hval", "  blå hval\n", "blå hval\r\n"])
def test_a_file_of_text_is_one_label(text: str) -> None:
    row = read_file(ANIMALS, text.encode())
    assert row.tolist() == [2]
    assert row.dtype == np.int64


def test_digits_in_a_file_are_a_label() -> None:
    assert read_file(UPSIDE_DOWN, b"0").tolist() == [2]


@pytest.mark.parametrize("value", ["cow", "Cat", "", "1", 3, -1, 1.0, True, None, ["cat"], {"label": "cat"}])
def test_what_is_neither_is_refused_with_the_labels_that_exist(value: Any) -> None:
    with pytest.raises(InputRefused, match=r"'cat', 'dog', 'blå hval'.* an index from 0 to 2, got "):
        read_values(ANIMALS, [0, value])


@pytest.mark.parametrize("content", [b"cow", b" ", b"\n", b"1", b"cat dog"])
def test_a_file_of_another_text_is_refused_with_the_labels_that_exist(content: bytes) -> None:
    with pytest.raises(InputRefused, match="'cat', 'dog', 'blå hval'"):
        read_file(ANIMALS, content)


def test_of_many_labels_the_first_are_named() -> None:
    many = category(*(f"species {i}" for i in range(1000)))
    with pytest.raises(InputRefused, match=r"'species 19', …\) or an index from 0 to 999") as refused:
        read_values(many, ["unicorn" * 1000])
    assert len(str(refused.value)) < 500


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InputRefused, match=r"must be UTF-8 text, got bytes that begin with b'bl\\xe5'"):
        read_file(ANIMALS, "blå".encode("latin1"))


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(InputRefused, match="the file is empty"):
        read_file(ANIMALS, b"")


def test_no_values_are_no_rows() -> None:
    assert read_values(ANIMALS, []).shape == (0,)


@pytest.mark.parametrize("depth", [60, 1000, 5000])
def test_a_value_nested_too_deep_to_print_is_refused(depth: int) -> None:
    row: list[Any] = []
    for _ in range(depth):
        row = [row]
    with pytest.raises(InputRefused, match="must be a label"):
        read_values(ANIMALS, [row])


def test_an_integer_too_long_to_print_is_refused() -> None:
    with pytest.raises(InputRefused, match="must be a label"):
        read_values(ANIMALS, [10**5000])


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["cat", 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


SEAS = category('sea, "deep"', "sea", "[]", "it's", "7")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("sea", ["sea"]),
        ('sea, "deep"', ['sea, "deep"']),
        ("sea,it's", ["sea", "it's"]),
        ("7, sea , 7", ["7", "sea", "7"]),
        ('["sea, \\"deep\\"", "sea"]', ['sea, "deep"', "sea"]),
        ("[]", ["[]"]),
        ('"sea"', ["sea"]),
        ("sea,snow", ["sea,snow"]),
        ('["sea", null]', ['["sea", null]']),
        ('["sea", 7]', ['["sea", 7]']),
        ("{}", ["{}"]),
        ("", [""]),
    ],
)
def test_a_text_is_a_label_or_a_list_of_labels(text: str, labels: list[str]) -> None:
    """A list in JSON or with commas, as some generated clients write it; a label is no list."""
    assert split(text.encode(), SEAS.labels or ()) == [label.encode() for label in labels]


@given(values=st.lists(json_like, max_size=4))
def test_any_values_give_indices_or_are_refused(values: list[Any]) -> None:
    read = rows_or_refusal(read_values, ANIMALS, values)
    if isinstance(read, str):
        assert 0 < len(read) < 200
    else:
        assert read.shape == (len(values),)
        assert ((read >= 0) & (read < 3)).all()


@given(content=st.binary() | st.text().map(str.encode))
def test_any_bytes_give_one_index_or_are_refused(content: bytes) -> None:
    read = rows_or_refusal(read_file, ANIMALS, content)
    if isinstance(read, str):
        assert 0 < len(read) < 200
    else:
        assert read.shape == (1,)
        assert content.decode().strip() == ("cat", "dog", "blå hval")[read[0]]


def test_a_message_shows_some_labels_and_the_start_of_each() -> None:
    modality = category(*(f"{number:03} " + "a" * 900 for number in range(100)))
    with pytest.raises(InputRefused) as refused:
        read_values(modality, ["b" * 10_000])
    assert len(str(refused.value)) < 1200
    assert "'000 aaa" in str(refused.value)
    assert "…" in str(refused.value)
