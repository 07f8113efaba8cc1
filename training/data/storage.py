"""Allocates arrays: small ones in memory, large ones in an unnamed memory-mapped file."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models_store.arrays import Array
from training.data.idx import cache
from training.errors import DataError

IN_MEMORY = 2**26
"""Size in bytes up to which an array is held in memory."""


def allocate(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Returns an array of zeros.

    A large array is a file under ``$XDG_CACHE_HOME/anyview/rows``, whose pages the system reads and drops as
    needed. The file has no name, so the system deletes it when the process ends.

    Raises:
        DataError: The disk has no room for it.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= IN_MEMORY:
        return np.zeros(shape, dtype)
    folder = cache("rows")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        _reserve(file.fileno(), size, folder)
        return np.memmap(file, dtype, "r+", shape=tuple(shape))


def _reserve(descriptor: int, size: int, folder: Path) -> None:
    """Reserves the space at once: a full disk would kill a process that writes to the map."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise DataError(f"no room for {size} bytes of rows in {folder}: {error.strerror}") from None
