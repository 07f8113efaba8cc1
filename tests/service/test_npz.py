"""Archives, as numpy and unzip see them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.formats.npz import archive, stored

ARRAYS = arrays.arrays(
    st.sampled_from(["f4", "f8", "i8", "u1", "?", "U3"]), arrays.array_shapes(min_dims=0, min_side=0)
)


def savez(arrays: Iterable[tuple[str, np.ndarray]]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **dict(arrays))
    return stream.getvalue()


@given(st.dictionaries(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8), ARRAYS))
def test_numpy_reads_back_what_was_written(written: dict[str, np.ndarray]) -> None:
    content = archive(written.items())
    with np.load(io.BytesIO(content), allow_pickle=False) as read:
        assert set(read.files) == set(written)
        for name, array in written.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)


def test_every_checksum_is_right_and_unordered_memory_is_put_in_order() -> None:
    columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    with zipfile.ZipFile(io.BytesIO(archive([("a.b", columns), ("c", columns[:, ::2])]))) as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["a.b.npy", "c.npy"]
        assert np.array_equal(np.load(io.BytesIO(packed.read("c.npy"))), columns[:, ::2])


def unzipped(content: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        return [(member.filename, packed.read(member)) for member in packed.infolist()]


@given(st.dictionaries(st.sampled_from("abcdef"), ARRAYS), st.sampled_from([archive, savez]))
def test_what_is_stored_is_read_as_zipfile_reads_it(
    written: dict[str, np.ndarray], write: Callable[..., bytes]
) -> None:
    content = write(written.items())
    assert stored(content, len(content)) == unzipped(content)


@given(st.dictionaries(st.sampled_from("ab"), ARRAYS, min_size=1), st.integers(0), st.integers(1, 255))
def test_what_is_damaged_is_never_read_as_anything_else(
    written: dict[str, np.ndarray], place: int, change: int
) -> None:
    """A time or an attribute may change; archives with other changes are left to zipfile."""
    content = bytearray(archive(written.items()))
    content[place % len(content)] ^= change
    assert stored(bytes(content), len(content)) in (None, unzipped(archive(written.items())))


def test_more_than_may_be_unpacked_is_not_read() -> None:
    content = archive([("x", np.zeros(100))])
    assert stored(content, 928) is not None
    assert stored(content, 927) is None
