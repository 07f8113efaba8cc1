"""Files that a column of a table names, beside the table: pictures, sounds, clips and arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from models_store import kinds
from models_store.errors import InputRefused
from models_store.manifest import Manifest, Modality
from models_store.tables import Block
from models_store.tables.dialect import normal
from models_store.tables.matching import MatchedTable
from service.engine.observations import Column, Observations


def file_columns(manifest: Manifest, headers: Sequence[str]) -> Mapping[int, Modality]:
    """Columns that name files in the training table, by position, each with its modality."""
    fields = {
        normal(modality.field): modality
        for modality in manifest.modalities
        if modality.field is not None and not modality.traits.tabular
    }
    return {at: fields[normal(header)] for at, header in enumerate(headers) if normal(header) in fields}


def numbers_of_files(manifest: Manifest, headers: Sequence[str]) -> int:
    """Numbers that the files of one row hold."""
    return sum(math.prod(modality.shape) for modality in file_columns(manifest, headers).values())


def with_files(
    manifest: Manifest, observations: Observations, piece: MatchedTable, folder: Path
) -> Observations:
    """Adds the modalities whose files a piece of a table names; a file that cannot be read is missing.

    Arguments:
        manifest: Manifest of the model.
        observations: Rows of the piece.
        piece: The piece.
        folder: Folder from which the paths are seen.
    """
    block = Block(piece.table, piece.first_row, piece.rows)
    columns = {
        modality.name: _column(modality, block.texts(at), folder)
        for at, modality in file_columns(manifest, piece.headers).items()
    }
    if not columns:
        return observations
    merged = {**observations.columns, **columns}
    return Observations(merged, observations.n, observations.table, observations.first_row)


def _column(modality: Modality, paths: Sequence[str | None], folder: Path) -> Column:
    values = np.zeros((len(paths), *modality.shape), modality.numpy_dtype)
    present = np.zeros(len(paths), bool)
    for row, path in enumerate(paths):
        if path is None:
            continue
        try:
            rows = kinds.read_file(modality, (folder / path).read_bytes())
        except (InputRefused, OSError, ValueError):  # absent, or damaged; a path with a NUL is a ValueError
            continue
        if len(rows) == 1:
            values[row], present[row] = rows[0], True
    return Column.masked(values, present)
