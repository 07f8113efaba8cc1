"""Orders of labels that a Parquet file states: ordered dictionaries of Arrow, as pandas writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

WRITER = "parquet-cpp-arrow"
"""Start of the name of the library that stores a dictionary of Arrow as it is, in its order."""


def stated_orders(path: Path) -> Mapping[str, Sequence[str]]:
    """By column, the labels of an ordered category, from the lowest up.

    Arguments:
        path: A Parquet file; of one that stores labels without their dictionary the order is not known.
    """
    if not path.is_file():  # a data set of many files
        return {}
    with parquet.ParquetFile(path) as file:
        names = _ordered(file)
        columns = file.read_row_group(0, columns=names) if names else {}
    labels = {name: columns[name].chunk(0).dictionary.cast(pa.string()).to_pylist() for name in names}
    return {name: [label.strip() for label in some if label is not None] for name, some in labels.items()}


def _ordered(file: parquet.ParquetFile) -> list[str]:
    """Names of the columns that are ordered and have their dictionary in the file."""
    footer = file.metadata
    if not footer.num_row_groups or not str(footer.created_by).startswith(WRITER):
        return []
    group = footer.row_group(0)
    chunks = [group.column(at) for at in range(group.num_columns)]
    stored = {chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page}
    kinds = {one.name: one.type for one in file.schema_arrow if one.name in stored}
    return [name for name, kind in kinds.items() if pa.types.is_dictionary(kind) and kind.ordered]
