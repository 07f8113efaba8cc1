"""Checks of the folders that a command will write, made before its work."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from training.errors import TrainingError

ROOM = 32 * 2**20
"""Bytes that must be free; every run writes several times that much or less than half of it."""
CANNOT_WRITE = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EEXIST,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
"""Errors of a place, not of the program."""


def check_writable(folder: Path, option: str, *, create: bool = True) -> None:
    """Checks that files can be written to a folder, and leaves none there.

    Arguments:
        folder: The folder.
        option: Option of the command that names it.
        create: Whether to create the folder where it is missing.

    Raises:
        TrainingError: The folder cannot be created or written, or has less than ``ROOM`` bytes free.
    """
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
    except OSError as error:
        needs = f"; {ROOM // 2**20} MB must be free" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise TrainingError(f"{option}: {folder} cannot be written: {error.strerror}{needs}") from None


def reason(error: OSError) -> str:
    """Describes an error of the file system with the file that it is about."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
