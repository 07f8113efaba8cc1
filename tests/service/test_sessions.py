"""Graphs in onnxruntime."""

from __future__ import annotations

import os
from unittest.mock import patch

import numpy as np
import onnxruntime
import pytest

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
