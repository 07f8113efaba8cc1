"""Reads arrays of one ``.npz`` file and checks their shapes."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models_store.regular import open_regular
from training.errors import DataError


def read(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """Reads the arrays of these names.

    Raises:
        DataError: The file or an array in it is missing or damaged.
    """
    try:
        # opened here, since numpy leaves a damaged file open
        with open_regular(path) as file, np.load(file, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in names}
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def check(path: Path, arrays: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
    """Checks that all arrays have the same number of rows, each of the expected shape.

    Raises:
        DataError: An array has another shape.
    """
    rows = len(next(iter(arrays.values())))
    for name, shape in shapes.items():
        if tuple(arrays[name].shape) != (rows, *shape):
            raise DataError(
                f"{path}: '{name}' must have the shape {(rows, *shape)}, got {tuple(arrays[name].shape)}"
            )
