"""Files of arrays in a bundle: npz archives without pickled objects."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from models_store.arrays import Array
from models_store.errors import BundleRefused


def to_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Writes arrays by name as a compressed archive."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def from_bytes(content: bytes, file: str) -> dict[str, Array]:
    """Reads an archive of arrays by name.

    Arguments:
        content: The archive.
        file: Its name in the bundle, for messages.

    Raises:
        BundleRefused: It is no archive of arrays of numbers.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise BundleRefused(f"{file} is no archive of arrays: {error}") from None
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise BundleRefused(f"{file}: '{key}' must hold numbers")
    return arrays
