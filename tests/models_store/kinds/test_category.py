"""Text is a label, an integer an index; whatever else is refused with the labels that exist."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_store.errors import InputRefused
from models_store.kinds import read_file, read_values
from tests.models_store.examples import category, rows_or_refusal

ANIMALS = category("cat", "dog", "blå hval")
UPSIDE_DOWN = category("2", "1", "0")


def test_text_is_a_label() -> None:
    assert read_values(ANIMALS, ["dog", "blå hval", "cat"]).tolist() == [1, 2, 0]


def test_an_integer_is_an_index() -> None:
    assert read_values(ANIMALS, [1, 2, 0]).tolist() == [1, 2, 0]


def test_digits_in_quotes_are_a_label_all_the_same() -> None:
    assert read_values(UPSIDE_DOWN, ["0", 0, "2", 2]).tolist() == [2, 0, 0, 2]


@pytest.mark.parametrize("text", ["blå hval", "  blå hval\n", "blå hval\r\n"])
def test_a_file_of_text_is_one_label(text: str) -> None:
    rows = read_file(ANIMALS, text.encode())
    assert rows.tolist() == [2]
    assert rows.dtype == np.int64


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


@given(values=st.lists(json_like, max_size=4))
def test_any_values_give_indices_or_are_refused(values: list[Any]) -> None:
    rows = rows_or_refusal(read_values, ANIMALS, values)
    if isinstance(rows, str):
        assert 0 < len(rows) < 200
    else:
        assert rows.shape == (len(values),)
        assert ((rows >= 0) & (rows < 3)).all()


@given(content=st.binary() | st.text().map(str.encode))
def test_any_bytes_give_one_index_or_are_refused(content: bytes) -> None:
    rows = rows_or_refusal(read_file, ANIMALS, content)
    if isinstance(rows, str):
        assert 0 < len(rows) < 200
    else:
        assert rows.shape == (1,)
        assert content.decode().strip() == ("cat", "dog", "blå hval")[rows[0]]
