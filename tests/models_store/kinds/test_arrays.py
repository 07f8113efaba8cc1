"""Arrays keep their shape and their values, or they are refused."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes
from numpy.lib import format as npy

from models_store.errors import InputRefused
from models_store.kinds import base, read_file, read_values
from models_store.manifest import Modality
from tests.models_store.examples import NumpyArray, array, category, image, rows_or_refusal

VECTOR = array("vector", 3)
LABEL = category("cat", "dog")
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def saved(rows: NumpyArray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, rows)
    return stream.getvalue()


def npy_file(header: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A ``.npy`` whose header says anything at all."""
    text = header.encode("latin1", "replace")
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return npy.MAGIC_PREFIX + bytes(version) + length + text + body


def header(shape: Any = (1, 3), descr: Any = "<f4", fortran: Any = False) -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': {fortran!r}, 'shape': {shape!r}, }}\n"


def encoded(rows: NumpyArray) -> str:
    return base64.b64encode(saved(rows)).decode()


def refusal(modality: Modality, content: bytes) -> str:
    with pytest.raises(InputRefused) as refused:
        read_file(modality, content)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "modality",
    [VECTOR, array("tensor"), array("tensor", 2, 3, 4), array("points", 5, 2), array("audio", 4, 6)],
)
def test_an_array_comes_back_the_same(modality: Modality) -> None:
    rows = np.random.default_rng(0).normal(size=(7, *modality.shape)).astype(np.float32)
    read = read_file(modality, saved(rows))
    assert read.dtype == np.float32
    assert np.array_equal(read, rows)


@pytest.mark.parametrize(
    "rows",
    [np.asfortranarray(VALUES), VALUES.astype(">f4"), VALUES.astype(np.float64), VALUES.astype(np.int16)],
    ids=["fortran", "big-endian", "float64", "int16"],
)
def test_how_an_array_is_stored_does_not_matter(rows: NumpyArray) -> None:
    read = read_file(VECTOR, saved(rows))
    assert np.array_equal(read, VALUES)
    assert read.dtype == np.dtype(np.float32)
    assert read.dtype.isnative


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(version: tuple[int, int]) -> None:
    content = npy_file(header((2, 3)), VALUES.tobytes(), version)
    assert np.array_equal(read_file(VECTOR, content), VALUES)


def test_an_array_without_a_row_axis_is_one_row() -> None:
    row = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(read_file(VECTOR, saved(row)), row[None])


@pytest.mark.parametrize("shape", [(), (4,), (2, 4), (2, 3, 1), (2, 1, 3), (3, 2)])
def test_another_shape_is_refused_with_the_one_that_is_wanted(shape: tuple[int, ...]) -> None:
    sentence = refusal(VECTOR, saved(np.zeros(shape, np.float32)))
    assert sentence == f"rows must have the shape (3,), got an array of shape {shape}"


def test_an_array_is_never_resized_not_even_a_picture() -> None:
    assert "rows must have the shape (8, 6)" in refusal(image(8, 6), saved(np.zeros((1, 6, 8), np.uint8)))
    assert read_file(image(8, 6), saved(np.zeros((2, 8, 6), np.uint8))).shape == (2, 8, 6)


lossless = [
    ("uint8", [0, 255], "int64"),
    ("uint8", [0.0, 255.0], "float64"),
    ("uint8", [False, True], "bool"),
    ("bool", [0, 1], "uint8"),
    ("int64", [-3.0, 3.0], "float32"),
    ("float32", [2**24, -(2**24)], "int64"),
    ("float32", [0.1, 1e-300], "float64"),
    ("float16", [0.1, 1e4], "float64"),
    ("float64", [0.1, 3e38], "float32"),
]
lossy = [
    ("uint8", [256], "int64"),
    ("uint8", [-1], "int8"),
    ("uint8", [0.5], "float64"),
    ("uint8", [math.nan], "float32"),
    ("int64", [2**63], "uint64"),
    ("int64", [2.0**63], "float64"),
    ("bool", [2], "uint8"),
    ("bool", [math.nan], "float32"),
    ("float32", [2**24 + 1], "int64"),
    ("float64", [2**53 + 1], "int64"),
]


@pytest.mark.parametrize(("target", "values", "dtype"), lossless)
def test_a_dtype_that_converts_without_loss_is_welcome(target: str, values: list[Any], dtype: str) -> None:
    sent = np.array(values, dtype)
    read = read_file(array("tensor", dtype=target), saved(sent))
    assert read.dtype == target
    np.testing.assert_array_equal(read, sent.astype(target))


@pytest.mark.parametrize(("target", "values", "dtype"), lossy)
def test_a_value_that_would_change_is_refused(target: str, values: list[Any], dtype: str) -> None:
    sentence = refusal(array("tensor", dtype=target), saved(np.array(values, dtype)))
    if np.isnan(np.array(values, dtype)).any():
        assert (
            sentence
            == f"a row of {target} has no missing cells, but one is null or NaN; send null for the whole row"
        )
    else:
        assert sentence == f"values of dtype {dtype} do not convert to {target} without loss"


@pytest.mark.parametrize("kind", ["vector", "counts"])
def test_nan_is_a_missing_cell_of_a_vector_and_of_counts(kind: str) -> None:
    read = read_file(array(kind, 3), saved(np.array([[1, math.nan, 3]])))
    np.testing.assert_array_equal(read, [[1, math.nan, 3]])


@pytest.mark.parametrize("modality", [array("tensor", 2), array("points", 1, 2), array("audio", 1, 2)])
def test_nan_is_refused_where_no_cell_can_be_missing(modality: Modality) -> None:
    content = saved(np.array([1, math.nan]).reshape(1, *modality.shape))
    assert refusal(modality, content) == "values must be finite numbers within float32, got nan"


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e39])
def test_what_is_not_finite_is_refused_everywhere(value: float) -> None:
    for modality in (VECTOR, array("counts", 3), array("tensor", 3)):
        sentence = refusal(modality, saved(np.array([[0, 0, value]])))
        assert sentence == f"values must be finite numbers within float32, got {value}"


def test_indices_must_exist() -> None:
    assert read_file(LABEL, saved(np.array([0, 1, 1], np.int32))).tolist() == [0, 1, 1]
    assert refusal(LABEL, saved(np.array([0, 2]))) == "an index must be between 0 and 1, got 2"
    assert refusal(LABEL, saved(np.array([-1.0]))) == "an index must be between 0 and 1, got -1.0"
    assert "without loss" in refusal(LABEL, saved(np.array([0.5])))
    assert "no missing cells" in refusal(LABEL, saved(np.array([math.nan])))


@pytest.mark.parametrize("change", [-4, -1, 1, 4, 10**6])
def test_a_header_that_promises_other_than_what_follows_is_refused(change: int) -> None:
    content = saved(VALUES)
    lying = content[:change] if change < 0 else content + bytes(change)
    assert refusal(VECTOR, lying) == f".npy header promises 24 bytes of shape (2, 3), {24 + change} follow"


@pytest.mark.parametrize(
    ("shape", "bytes_that_follow"),
    [
        ((10**12, 3), 12),
        ((-1, -3), 12),
        ((2**70, 3), 12),
        ((0, 2**70), 0),
        ((0, 2**62, 2**62), 0),
        ((1,) * 65, 4),
        ((True, 3), 12),
        ((1.0, 3), 12),
        (("1", 3), 12),
        ("abc", 12),
        (None, 12),
        (3, 12),
        ([1, 3], 12),
    ],
)
def test_a_shape_that_cannot_be_is_refused(shape: Any, bytes_that_follow: int) -> None:
    assert ".npy" in refusal(VECTOR, npy_file(header(shape), bytes(bytes_that_follow)))


@pytest.mark.parametrize(
    "descr", ["|O", "<U3", "|S12", "<c8", "<M8[s]", "|V12", [("x", "<f4"), ("y", "<f8")]]
)
def test_what_is_neither_numbers_nor_booleans_is_refused(descr: Any) -> None:
    assert "a .npy must hold numbers or booleans" in refusal(VECTOR, npy_file(header(descr=descr), bytes(12)))


@pytest.mark.parametrize("descr", ["float33", "", 5, None, {}, (), ("<f4",), [()], ("<f4", (3,)), "f4,("])
def test_a_dtype_that_cannot_be_is_refused(descr: Any) -> None:
    assert ".npy" in refusal(VECTOR, npy_file(header(descr=descr), bytes(12)))


def test_a_pickle_is_never_loaded() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return pytest.fail, ("a pickle was loaded",)

    assert "this one holds object" in refusal(VECTOR, saved(np.array([[Bomb()] * 3])))


DAMAGED = {
    "nothing": "",
    "no dictionary": "[1, 2]",
    "keys missing": "{'descr': '<f4'}",
    "keys of two types": "{1: 2, 'a': 3}",
    "no key": "{[]: 2}",
    "code": "__import__('os').abort()",
    "order that is no boolean": header(fortran="yes"),
    "too long": header() + " " * 20_000,
    "zero byte": header() + "\0",
    "brackets": "[" * 5000,
    "parentheses": "(" * 5000,
    "nested": "-" * 3000 + "1",
    "nested deeper": "-" * 9000 + "1",
    "long number": header("x").replace("'x'", f"({'9' * 5000},)"),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_header_is_refused(text: str) -> None:
    assert refusal(VECTOR, npy_file(text, bytes(12))).startswith("damaged .npy header: ")


@pytest.mark.parametrize("length", range(6, 12))
def test_a_header_cut_off_is_refused(length: int) -> None:
    assert refusal(VECTOR, saved(VALUES)[:length]).startswith("damaged .npy header: ")


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"[1, 2, 3]", b"1,2,3", b"PK\x03\x04"])
def test_a_file_that_is_no_npy_is_refused_with_what_is_wanted(content: bytes) -> None:
    sentence = refusal(array("tensor", 3), content)
    assert sentence.startswith("a tensor must come as .npy, got bytes that begin with b'")


def test_nested_lists_are_rows() -> None:
    rows = read_values(array("points", 2, 2), [[[1, 2], [3, 4.5]], [[5, 6], [7, 8]]])
    assert rows.tolist() == [[[1, 2], [3, 4.5]], [[5, 6], [7, 8]]]
    assert rows.dtype == np.float32


def test_a_number_is_a_row_of_a_tensor_without_axes() -> None:
    assert read_values(array("tensor"), [1, 2.5]).tolist() == [1, 2.5]


def test_null_is_a_missing_cell() -> None:
    np.testing.assert_array_equal(read_values(VECTOR, [[1, None, 3]]), [[1, math.nan, 3]])
    np.testing.assert_array_equal(read_values(VECTOR, [[None] * 3]), [[math.nan] * 3])


@pytest.mark.parametrize("value", ["2", "nan", "", {}, []])
def test_null_beside_it_makes_no_number_of_what_is_none(value: Any) -> None:
    with pytest.raises(InputRefused):
        read_values(VECTOR, [[1, None, value]])


def test_whole_numbers_in_json_may_be_larger_than_any_integer() -> None:
    assert read_values(VECTOR, [[10**30, 1, 1]]).tolist() == [[np.float32(1e30), 1, 1]]
    with pytest.raises(InputRefused):
        read_values(VECTOR, [[10**400, 1, 1]])


@pytest.mark.parametrize(
    "row", [[1, 2], [[1, 2, 3]], [1, 2, [3]], 1, None, {"a": 1}, ["1", "2", "3"], [1, 2, {}]]
)
def test_a_value_of_another_shape_is_refused(row: Any) -> None:
    with pytest.raises(InputRefused):
        read_values(VECTOR, [[1, 2, 3], row])


def test_base64_of_a_file_is_one_row() -> None:
    rows = read_values(VECTOR, [encoded(VALUES[:1]), [3, 4, 5]])
    np.testing.assert_array_equal(rows, VALUES)


@given(st.binary(max_size=60), st.integers(1, 20), st.data())
def test_base64_in_pieces_is_base64_as_a_whole(content: bytes, piece: int, data: st.DataObject) -> None:
    written = data.draw(st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))(content).decode()
    if data.draw(st.booleans()):
        written = written.rstrip("=")
    lines = "\n".join(written[at : at + 7] for at in range(0, len(written), 7))
    with patch.object(base, "BASE64_AT_ONCE", piece):
        assert base.from_base64(lines) == content
        assert base.from_base64(f"data:image/png;base64,{written}") == content
        for damaged in (f"{written}=A", f"{written[:1]}ä", f"A={written}BCDE"):
            with pytest.raises(InputRefused, match="must be base64"):
                base.from_base64(damaged)


@pytest.mark.parametrize("n", [0, 2])
def test_base64_of_other_than_one_row_is_refused(n: int) -> None:
    with pytest.raises(InputRefused, match=f"must hold one row, this one holds {n}"):
        read_values(VECTOR, [encoded(VALUES[:n])])


@pytest.mark.parametrize("text", ["!", "A", "é", "AA!A"])
def test_text_that_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(InputRefused, match="text must be base64 of a file, got "):
        read_values(VECTOR, [text])


@pytest.mark.parametrize("wrap", [lambda row: [row], lambda row: {"a": row}], ids=["lists", "objects"])
@pytest.mark.parametrize("depth", [60, 1000, 5000])
def test_values_nested_too_deep_are_refused(wrap: Callable[[Any], Any], depth: int) -> None:
    row: Any = 1
    for _ in range(depth):
        row = wrap(row)
    with pytest.raises(InputRefused):
        read_values(VECTOR, [row])


numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**400)
json_like = st.recursive(
    numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
npy_headers = st.builds(
    header,
    shape=st.one_of(
        st.lists(st.integers() | st.integers(0, 3), max_size=5).map(tuple), st.tuples(json_like), json_like
    ),
    descr=st.one_of(scalar_dtypes().map(lambda dtype: dtype.str), st.text(max_size=5), json_like),
    fortran=st.booleans() | json_like,
)
npy_files = st.one_of(
    st.builds(npy_file, npy_headers | st.text(), st.binary(max_size=32), st.tuples(*[st.integers(0, 9)] * 2)),
    arrays(scalar_dtypes(), array_shapes(max_side=3)).map(saved),
)


@pytest.mark.filterwarnings("ignore")  # numpy warns of headers by Python 2 and of names that it gives up
@pytest.mark.parametrize("modality", [VECTOR, array("tensor", dtype="uint8"), LABEL], ids=lambda m: m.kind)
@given(content=npy_files | st.binary())
def test_any_bytes_give_rows_or_are_refused(modality: Modality, content: bytes) -> None:
    rows = rows_or_refusal(read_file, modality, content)
    if isinstance(rows, str):
        assert 0 < len(rows) < 400
    else:
        assert rows.shape == (len(rows), *modality.shape)
        assert rows.dtype == modality.dtype


@pytest.mark.parametrize(
    "modality", [VECTOR, array("tensor", dtype="uint8"), array("points", 1, 2)], ids=lambda m: m.kind
)
@given(values=st.lists(json_like | st.lists(numbers, min_size=3, max_size=3), max_size=4))
@example(values=[])
def test_any_values_give_as_many_rows_or_are_refused(modality: Modality, values: list[Any]) -> None:
    rows = rows_or_refusal(read_values, modality, values)
    if isinstance(rows, str):
        assert 0 < len(rows) < 400
    else:
        assert rows.shape == (len(values), *modality.shape)
        assert rows.dtype == modality.dtype
