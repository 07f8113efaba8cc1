"""Archives, as numpy and unzip see them."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.npz import archive

ARRAYS = arrays.arrays(
    st.sampled_from(["f4", "f8", "i8", "u1", "?", "U3"]), arrays.array_shapes(min_dims=0, min_side=0)
)


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
