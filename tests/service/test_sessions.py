"""Graphs in onnxruntime."""

from __future__ import annotations

import os
import threading
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from models_store.arrays import Array
from models_store.folder import SHIPPED
from service.engine import sessions

CONTENT = (SHIPPED / "mnist" / "2" / "label.encoder.onnx").read_bytes()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux has files in memory")
@pytest.mark.parametrize("writable", [True, False])
def test_a_large_file_is_read_by_path_where_one_can_be_written(
    writable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.arange(3, dtype=np.int64)
    expected = sessions.Session(CONTENT).run(rows)
    monkeypatch.setattr(sessions, "LARGE_FILE", 0)
    if not writable:
        read_only = os.open(os.devnull, os.O_RDONLY)
        monkeypatch.setattr(os, "memfd_create", lambda _: read_only)
    with patch.object(onnxruntime, "InferenceSession", wraps=onnxruntime.InferenceSession) as opened:
        loaded = sessions.Session(CONTENT)
    assert isinstance(opened.call_args.args[0], str if writable else bytes)
    for name, value in loaded.run(rows).items():
        np.testing.assert_array_equal(value, expected[name])


def sized() -> sessions.Session:
    """A graph that should give (batch, 3), and gives an array of the shape that its rows say."""
    given = helper.make_tensor_value_info("x", TensorProto.INT64, ["batch"])
    stated = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph([helper.make_node("ConstantOfShape", ["x"], ["y"])], "sized", [given], [stated])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    assert isinstance(model, onnx.ModelProto)
    session = sessions.Session(model.SerializeToString())
    session.check("x", (), "int64", {"y": (3,)})
    return session


@pytest.mark.parametrize("shape", [(2, 4), (1, 3), (2, 0), (2, 3, 1)])
def test_an_output_of_another_shape_than_stated_is_refused(shape: tuple[int, ...]) -> None:
    """The runtime only warns, and the numbers of other callers would be cut from it."""
    session = sized()
    assert session.run(np.array([2, 3]))["y"].shape == (2, 3)
    with pytest.raises(sessions.UnfitGraph, match="gives 'y' of shape"):
        session.run(np.array(shape))


def test_runs_that_begin_after_the_time_is_over_are_ended_too() -> None:
    class Endless:
        def __init__(self) -> None:
            self.ended = threading.Event()

        def run(self, rows: Array) -> dict[str, Array]:
            self.ended.clear()
            assert self.ended.wait(60)
            return {"y": rows}

        def stop(self) -> None:
            self.ended.set()

    graph = Endless()
    with sessions.ended_after([graph], 0.0):
        for _ in range(2):
            graph.run(np.zeros(1))
