"""Arrays to be filled: in memory while they are small, else in a nameless file that is mapped."""

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
"""Bytes up to which an array is held in memory."""


def allocate(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Zeros of that shape.

    A large array is a file under ``$XDG_CACHE_HOME/anyview/rows``, whose pages the system reads and drops as
    needed. It has no name, so it is gone with the process, however that ends.

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
    """Takes the room at once: a disk that fills up later would kill the process that writes to the map."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise DataError(f"no room for {size} bytes of rows in {folder}: {error.strerror}") from None
