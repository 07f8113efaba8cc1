"""Only regular files are read: to read anything else may never end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models_store.errors import UnreadableFile
from models_store.regular import NotRegular, open_regular, read_regular
from models_store.tables import read_table


def test_a_regular_file_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link") == b"content"


def test_a_pipe_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotRegular, match="it is no regular file; save its content in one"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(UnreadableFile, match=r"pipe cannot be read: it is no regular file"):
        read_table(tmp_path / "pipe")


def test_a_device_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotRegular):
        open_regular(Path("/dev/zero"))
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
