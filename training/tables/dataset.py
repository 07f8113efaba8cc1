"""A data set of many Parquet files of one schema, read as one file of rows, a row group at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from pyarrow import compute, parquet
from pyarrow import dataset as arrow

from models_store.arrays import Array
from models_store.errors import first_line
from models_store.tables import ColumnDialect, Dialect
from models_store.tables.cells import EMPTY
from models_store.tables.parts import ENDINGS, has_pattern, list_parts
from training.errors import DataError, TrainingError
from training.tables.files import Block, File, rows_at_once
from training.tables.marks import NO_MARKS, Marks

FOOTERS_AT_ONCE = 8
_UNREAD = ("struct", "map", "binary", "large_binary", "fixed_size_binary", "list", "large_list")
"""Types of Arrow of which no cell or vector can be made, unless lists hold numbers."""


@dataclass(frozen=True)
class Piece:
    """A row group of a file.

    Arguments:
        name: Path of the file in the data set.
        address: Path or address of the file, for messages.
        first: Number of its first row in the data set, whose files are in the order of their paths.
        rows: Number of its rows.
        fragment: Handle of ``pyarrow.dataset``.
    """

    name: str
    address: str
    first: int
    rows: int
    fragment: Any


def is_data_set(text: str) -> bool:
    """Whether a path names a data set: an address, a pattern, or a folder of several Parquet files."""
    path = Path(text)
    if "://" in text:
        return True
    if not path.is_dir():
        return has_pattern(text) and not path.exists()
    tables = [one for one in path.iterdir() if one.suffix in (".csv", ".tsv", *ENDINGS)]
    if len(tables) == 1 or any(one.suffix not in ENDINGS for one in tables):
        return False
    return bool(list_parts(LocalFileSystem(), os.path.abspath(path))[1])  # noqa: PTH100 - keeps links


class DataSetFile(File):
    """Parquet files of one schema as one file of rows.

    Arguments:
        address: Folder, pattern of paths, or address of fsspec.
        marks: Cells that mean a missing value, besides empty ones.

    Raises:
        DataError: There are no files, one is damaged, or their columns differ.
    """

    def __init__(self, address: str, marks: Marks = NO_MARKS) -> None:
        self._marks, self.address = marks, address
        with _answering(address):
            # A cached listing would hide files of other processes.
            files, place = fsspec.core.url_to_fs(address, use_listings_cache=False)
            folder, sizes = list_parts(files, place.rstrip("/") or place)
        if not sizes:
            raise DataError(
                f"{address} has no Parquet files; their names must end in {' or '.join(ENDINGS)} and not "
                "begin with a dot or _"
            )
        super().__init__(Path(folder))
        local = isinstance(files, LocalFileSystem)
        addresses = {name: f"{folder.rstrip('/')}/{name}" for name in sizes}
        self._addresses = {
            name: path if local else str(files.unstrip_protocol(path)) for name, path in addresses.items()
        }
        with _answering(address):
            opened = arrow.dataset(list(addresses.values()), filesystem=files, format="parquet")
        fragments = dict(zip(sizes, opened.get_fragments(), strict=True))
        with ThreadPoolExecutor(FOOTERS_AT_ONCE) as threads:
            self._groups = dict(
                zip(sizes, threads.map(self._row_groups, sizes, fragments.values()), strict=True)
            )
        self._schema = self._common_schema(fragments)
        self.report = [
            f"'{one.name}' is left out: {one.type} is no number, text or list of numbers"
            for one in self._schema
            if _is_unreadable(one.type)
        ]
        columns = tuple(ColumnDialect(header=name, name=name) for name in self._schema.names)
        self.dialect = Dialect(format="parquet", columns=columns)

    def _row_groups(self, name: str, fragment: Any) -> list[Any]:
        with _answering(self._addresses[name]):
            return list(fragment.split_by_row_group())

    def _common_schema(self, fragments: Mapping[str, Any]) -> Any:
        """The columns of all files: numbers of any type, and nothing beside any type, go together."""
        first, *others = fragments
        schema = _plain(fragments[first].physical_schema)
        for name in others:
            merged = []
            for expected, column in zip_longest(schema, _plain(fragments[name].physical_schema)):
                kind = _common_type(expected, column)
                if kind is None:
                    here, there = _described(column), _described(expected)
                    raise DataError(
                        f"{self._addresses[name]} has other columns than {first}: {here} in the place of "
                        f"{there}; all files of a data set must have the same columns"
                    )
                merged.append(pa.field(expected.name, kind))
            schema = pa.schema(merged)
        return schema

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The row groups of all files, in the order of the rows."""
        groups = [(name, group) for name, some in self._groups.items() for group in some]
        sizes = [group.row_groups[0].num_rows for _, group in groups]
        firsts = [0, *accumulate(sizes)]
        return tuple(
            Piece(name, self._addresses[name], first, rows, group)
            for (name, group), first, rows in zip(groups, firsts, sizes, strict=False)
        )

    @cached_property
    def rows_by_file(self) -> Mapping[str, int]:
        """Number of rows of each file by its path in the data set, in the order of the rows."""
        return {
            name: sum(group.row_groups[0].num_rows for group in some) for name, some in self._groups.items()
        }

    @property
    def rows(self) -> int:
        return sum(self.rows_by_file.values())

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {
            one.name: (self._width(one),) if _is_list(one.type) else ()
            for one in self._schema
            if not _is_unreadable(one.type)
        }

    @cached_property
    def labels(self) -> Mapping[str, tuple[str, str | None]]:
        units = {
            one.name: one.type.unit.replace("us", "µs")
            for one in self._schema
            if pa.types.is_duration(one.type)
        }
        return {name: (label, units.get(name, unit)) for name, (label, unit) in super().labels.items()}

    def _width(self, column: Any) -> int:
        """Numbers in each list of a column, by its first list."""
        if pa.types.is_fixed_size_list(column.type):
            return int(column.type.list_size)
        for piece in self.pieces:
            for values in _columns(piece, [column.name], 1000):
                lengths = compute.list_value_length(values[column.name]).drop_null()
                if len(lengths):
                    return int(lengths[0].as_py())
        return 0

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        for piece in self.pieces:
            yield from self.blocks_of(piece, fields)

    def blocks_of(self, piece: Piece, fields: Sequence[str]) -> Iterator[Block]:
        """Fields of the rows of a row group, in the order of the file.

        Raises:
            DataError: The file is damaged, or gone; the text names it.
        """
        cells = sum(self.shapes[name][0] if self.shapes[name] else 1 for name in fields)
        for values in _columns(piece, fields, rows_at_once(cells)):
            yield {name: self._cells(piece, name, values[name]) for name in fields}

    def _cells(self, piece: Piece, name: str, values: Any) -> Any:
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        values = values.cast(self._schema.field(name).type, safe=False)
        if self.shapes[name]:
            return self._marks.removed(name, _vectors(piece, name, values, self.shapes[name][0]))
        if pa.types.is_floating(values.type):
            values = values.cast(pa.float64())
            values = compute.if_else(compute.is_finite(values), values, None)
        elif pa.types.is_duration(values.type):
            values = values.cast(pa.int64())
        elif pa.types.is_string(values.type):
            trimmed = compute.utf8_trim_whitespace(values)
            empty = compute.is_in(trimmed, pa.array(sorted(EMPTY), trimmed.type))
            values = compute.if_else(empty, None, trimmed)
        return self._marks.removed(name, values)


def _columns(piece: Piece, fields: Sequence[str], rows: int) -> Iterator[Any]:
    """Record batches of a row group, decoded one at a time."""
    group = piece.fragment
    with (
        _answering(piece.address),
        # takes half of the memory of the fragment's own batches
        parquet.ParquetFile(group.path, metadata=group.metadata, filesystem=group.filesystem) as file,
    ):
        yield from file.iter_batches(
            rows, row_groups=[group.row_groups[0].id], columns=list(fields), use_threads=False
        )


def _vectors(piece: Piece, name: str, values: Any, width: int) -> Array:
    """Lists of numbers as rows, NaN where a list is missing: (n, width)."""
    there = values.is_valid().to_numpy(zero_copy_only=False)
    lengths = compute.list_value_length(values.drop_null()).to_numpy(zero_copy_only=False)
    if (lengths != width).any():
        raise DataError(
            f"{piece.address}: the lists of '{name}' have {lengths[lengths != width][0]} numbers, "
            f"and those before it {width}; a vector needs one length"
        )
    rows = np.full((len(values), width), np.nan, np.float32)
    flat = values.drop_null().flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    rows[there] = flat.reshape(-1, width)
    return rows


def _plain(schema: Any) -> Any:
    """Fields of a schema without what differs between writers: dictionaries, sizes of offsets, metadata."""
    return pa.schema([pa.field(one.name, _plain_type(one.type)) for one in schema])


def _plain_type(kind: Any) -> Any:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.list_(kind.value_type) if pa.types.is_large_list(kind) else kind


def _common_type(first: Any, second: Any) -> Any:
    """The type of a column that two files have; None where they have different ones."""
    if first is None or second is None or first.name != second.name:
        return None
    types = {one.type for one in (first, second) if not pa.types.is_null(one.type)}
    if len(types) > 1:
        return pa.float64() if all(map(_is_number, types)) else None
    return types.pop() if types else first.type


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: Any) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_unreadable(kind: Any) -> bool:
    if _is_list(kind):
        return not _is_number(kind.value_type)
    return str(kind).startswith(_UNREAD)


def _described(column: Any) -> str:
    return "no further column" if column is None else f"'{column.name}' ({column.type})"


@contextmanager
def _answering(address: str) -> Iterator[None]:
    """Turns errors of drivers and of Arrow into one sentence that names the file.

    Raises:
        DataError: The file is damaged, or its file system does not answer.
    """
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:  # each driver raises its own types
        extra = (
            "; pip install 'anyview[s3]'"
            if isinstance(error, ImportError) and address.startswith("s3:")
            else ""
        )
        reason = first_line(error)
        reason = "it is not there" if reason in address else reason  # a driver's text is the path alone
        raise DataError(f"{address} cannot be read: {reason}{extra}") from None
