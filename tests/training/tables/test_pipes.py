"""Files that never end are refused by ``init``, not waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training.errors import DataError
from training.tables.guess import guess


@pytest.mark.parametrize("name", ["pipe", "pipe.parquet"])
def test_a_pipe_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read: it is no regular file; save its content in one"):
        guess([tmp_path / name], tmp_path / "experiment.toml")


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises((DataError, OSError), match="File name too long"):
        guess([tmp_path / ("a" * 300)], tmp_path / "experiment.toml")
