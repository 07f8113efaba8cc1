"""Opens regular files only: a pipe may never end, and a device or socket holds no table or model."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotRegular(OSError):
    """The path is a pipe, a socket or a device."""


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading, without waiting for the writer of a pipe.

    Raises:
        NotRegular: The path is of something else.
        OSError: It cannot be opened, or is a folder.
    """
    # Without O_NONBLOCK, to open a pipe would wait for its writer.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", closefd=True)
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise NotRegular(errno.EINVAL, "it is no regular file; save its content in one", str(path))


def read_regular(path: Path) -> bytes:
    """Reads a regular file; for the errors see :func:`open_regular`."""
    with open_regular(path) as file:
        return file.read()
