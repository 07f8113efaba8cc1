"""Answers are written as JSON in pieces, and equal what is written at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from service.formats import render
from service.formats.render import to_json


@given(shapes=st.lists(array_shapes(max_dims=4, max_side=7), max_size=3), at_once=st.integers(1, 50))
def test_pieces_are_the_same_json(shapes: list[tuple[int, ...]], at_once: int) -> None:
    arrays = [np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 3 for shape in shapes]
    answer: dict[str, Any] = {
        "n": 1,
        "names": ["a", "b"],
        "targets": {str(index): {"mean": array, "none": None} for index, array in enumerate(arrays)},
        "outputs": [{"data": array.ravel(), "shape": array.shape} for array in arrays],
        "empty": {},
        "nothing": np.zeros((3, 0)),
    }
    with pytest.MonkeyPatch.context() as patch:
        whole = to_json(answer)
        patch.setattr(render, "AT_ONCE", at_once)
        assert to_json(answer) == whole


def test_no_piece_has_more_numbers_than_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    dumps = orjson.dumps

    def recorded(value: Any, **options: Any) -> bytes:
        sizes.append(getattr(value, "size", 1))
        return dumps(value, **options)

    monkeypatch.setattr(render, "AT_ONCE", 100)
    monkeypatch.setattr(orjson, "dumps", recorded)
    to_json({"samples": np.zeros((3, 7, 150)), "mean": np.zeros((1000, 30))})
    assert max(sizes) <= 100
