"""Files of rows, read a block at a time: CSV, Parquet, ``.npz``, ``.npy``; HDF5 is in mudata.py.

A column of single values arrives as an Arrow array, in which null is a missing cell; an array of larger
rows as NumPy, (n, *shape). No file is ever in memory as a whole, but for the arrays of an ``.npz``.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from models_store.arrays import Array
from models_store.errors import InputRefused, first_line, listed
from models_store.tables import Block as TableBlock
from models_store.tables import ColumnDialect, Dialect, cells, read_table
from models_store.tables.dialect import FileDialect
from models_store.tables.names import unique_names
from training.errors import DataError, TrainingError
from training.tables.marks import Marks

Block: TypeAlias = Mapping[str, Any]
"""By field, the values of some consecutive rows."""

CELLS_AT_ONCE = 2**20
"""Numbers in a block; what is in memory at a time is a small multiple of this."""


class File(ABC):
    """One file of rows.

    Arguments:
        path: Where it lies.
    """

    report: Sequence[str] = ()
    """Cells that were taken as missing, and columns that were left out and why, one sentence each."""
    dialect: Dialect | None = None
    """How a table is written; None for arrays."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """By field, the shape of one row: () for a column of a table."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """The number of rows."""

    @cached_property
    def labels(self) -> Mapping[str, tuple[str, str | None]]:
        """By field, its name without the unit, unique in the file, and its unit."""
        return dict(zip(self.shapes, unique_names(list(self.shapes)), strict=True))

    def dtype(self, field: str) -> str:  # noqa: ARG002 - most files have one for all
        """Of a field whose rows are arrays."""
        return "float32"

    @abstractmethod
    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        """Those fields of all rows, in the order of the file."""


UNSIGNED = {"uint16": "int32", "uint32": "int64", "uint64": "float64"}
"""Dtypes with the values of those that PyTorch does not compute with."""
LARGE_PARQUET = 2_000_000
"""Cells of a Parquet file from which it is streamed instead of being looked at cell by cell."""


class TableFile(File):
    """A table of text in any dialect, of JSON, Parquet or Excel; columns that cannot be read are left out."""

    def __init__(self, path: Path, how: FileDialect | None, marks: Marks) -> None:
        super().__init__(path)
        everywhere, by_column = (
            marks.with_others(how.missing, how.missing_in).spelled() if how else marks.spelled()
        )
        try:
            self._table = read_table(path, how, missing=everywhere, missing_by_column=by_column)
        except InputRefused as error:
            raise DataError(str(error)) from None
        self.report = self._table.report
        self.dialect = self._table.dialect
        columns = self._table.dialect.columns
        self._at = {column.header: at for at, column in enumerate(columns) if column.content != "unread"}

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        columns = self._table.dialect.columns
        return {
            name: (columns[at].width,) if columns[at].content == "vector" else ()
            for name, at in self._at.items()
        }

    @property
    def rows(self) -> int:
        return self._table.rows

    @cached_property
    def labels(self) -> Mapping[str, tuple[str, str | None]]:
        columns = self._table.dialect.columns
        return {name: (columns[at].name, columns[at].unit) for name, at in self._at.items()}

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        try:
            for block in self._table.blocks():
                yield _TableRows(block, {name: self._at[name] for name in fields})
        except InputRefused as error:
            raise DataError(str(error)) from None


class Cells:
    """One column in some rows of a table, not yet converted.

    Arguments:
        block: The rows.
        at: Position of the column.
    """

    def __init__(self, block: TableBlock, at: int) -> None:
        self._block, self._at = block, at
        self.is_number = block.table.dialect.columns[at].content == "number"

    def __len__(self) -> int:
        return len(self._block.rows)

    def numbers(self) -> Array:
        """The cells as float64, NaN where missing: (n,).

        Raises:
            ValueError: One is no number.
        """
        if self.is_number:
            return self._block.numbers(self._at)
        return numbers(pa.array(self.texts(), pa.string()))

    def texts(self) -> list[str | None]:
        """The cells as text, None where missing."""
        return self._block.texts(self._at)


class _TableRows(Mapping[str, Any]):
    """Some rows of a table by field: :class:`Cells`, or (n, width) for a column of vectors."""

    def __init__(self, block: TableBlock, at: Mapping[str, int]) -> None:
        self._block, self._at = block, at

    def __getitem__(self, field: str) -> Any:
        at = self._at[field]
        if self._block.table.dialect.columns[at].content == "vector":
            return self._block.numbers(at).astype(np.float32)
        return Cells(self._block, at)

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)

    def matrix(self, fields: Sequence[str]) -> Array:
        """Columns of numbers side by side, (n, len(fields)), converted in one call where all have points."""
        positions = [self._at[field] for field in fields]
        columns = [self._block.table.dialect.columns[at] for at in positions]
        marks = {mark for column in columns for mark in column.missing}
        numbers_as_marks = {mark for mark in marks if cells.number(mark) is not None}
        if all(column.decimal == "." and numbers_as_marks <= {*column.missing} for column in columns):
            absent = {None, *cells.EMPTY, *marks}
            rows = [
                ["nan" if (cell := row[at]) in absent else cell for at in positions]
                for row in self._block.rows
            ]
            with suppress(ValueError, TypeError):
                return np.array(rows, dtype=float).reshape(len(rows), len(fields))
        return np.stack([self._block.numbers(at) for at in positions], axis=1)


class ParquetFile(File):
    """A large Parquet file: a part of a row group is decoded at a time, and no cell looked at first."""

    def __init__(self, path: Path, marks: Marks) -> None:
        super().__init__(path)
        self._marks = marks
        with parquet.ParquetFile(path) as file:
            self._schema = file.schema_arrow
            self._rows = file.metadata.num_rows
        columns = tuple(ColumnDialect(header=name, name=name) for name in self._schema.names)
        self.dialect = Dialect(format="parquet", columns=columns)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return dict.fromkeys(self._schema.names, ())

    @property
    def rows(self) -> int:
        return self._rows

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        size = rows_at_once(len(fields))
        with reading(self.path), parquet.ParquetFile(self.path, memory_map=True) as file:
            for batch in file.iter_batches(size, columns=list(fields)):
                yield {name: self._marks.removed(name, _decoded(batch[name])) for name in fields}


class ArrayFile(File):
    """The arrays of an ``.npz``, or the one of an ``.npy``, which is called by the name of its file."""

    def __init__(self, path: Path, marks: Marks, zipped: bool) -> None:
        super().__init__(path)
        self._marks = marks
        members = self._load(zipped)
        arrays = {name: _single(member) for name, member in members.items() if isinstance(member, np.ndarray)}
        if not arrays:
            raise DataError(
                f"{path} holds no arrays but {listed(members)}; unpack it, and name the files in it"
            )
        rows = self._rows_of_most({name: len(array) for name, array in arrays.items() if array.ndim})
        reasons = {name: self._unusable(member, rows) for name, member in members.items()}
        self._arrays = {name: arrays[name] for name, reason in reasons.items() if reason is None}
        self.report = [f"'{name}' is left out: {reason}" for name, reason in reasons.items() if reason]
        if not self._arrays:
            raise DataError(f"{path}: nothing in it can be read: {'; '.join(self.report)}")

    def _rows_of_most(self, lengths: Mapping[str, int]) -> int:
        """The number of rows that most arrays have; the others are left out."""
        counts = Counter(lengths.values()).most_common(2)
        if len(counts) == 2 and counts[0][1] == counts[1][1]:
            raise DataError(
                f"{self.path}: its arrays must have the same number of rows, got {dict(lengths)}; save those "
                f"of one split, such as training, in a file of their own"
            )
        return counts[0][0] if counts else 0

    @staticmethod
    def _unusable(member: Any, rows: int) -> str | None:
        """Why a member of the archive cannot be learned; None where it can."""
        if not isinstance(member, np.ndarray):
            return "it is no array of numbers or text; save text with astype(str)"
        if not member.ndim or len(member) != rows:
            return f"it has {len(member) if member.ndim else 'no'} rows, others have {rows}"
        if not member[:1].size:
            return "its rows are empty"
        if member.dtype.kind not in "biufUS":
            fields = "; save each of its fields as an array" if member.dtype.names else ""
            return f"it must hold numbers or text, got {member.dtype}{fields}"
        return None

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: array.shape[1:] for name, array in self._arrays.items()}

    def dtype(self, field: str) -> str:
        return self._arrays[field].dtype.name

    @property
    def rows(self) -> int:
        return len(next(iter(self._arrays.values())))

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        size = rows_at_once(sum(math.prod(self.shapes[name]) for name in fields))
        for start in range(0, self.rows, size):
            yield {
                name: self._marks.removed(name, _column(self._arrays[name][start : start + size]))
                for name in fields
            }

    def _load(self, zipped: bool) -> dict[str, Any]:
        if zipped:
            # opened here, since numpy leaves a damaged file open
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: _native(_member(archive, name)) for name in archive.files}
        return {self.path.stem: _native(np.load(self.path, mmap_mode="r", allow_pickle=False))}


def _member(archive: Any, name: str) -> Any:
    """A member of an archive; None for an array of Python objects, which are not unpickled."""
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" in str(error):
            return None
        raise


def _native(member: Any) -> Any:
    """An array of a dtype that PyTorch computes with, its bytes as text; other members as they are."""
    if not isinstance(member, np.ndarray):
        return member
    if member.dtype.kind == "S":
        return np.char.decode(member, "utf-8", "replace")
    native = member.dtype.newbyteorder("=")
    wide = np.dtype(np.float64) if native == np.longdouble else native
    return member.astype(UNSIGNED.get(wide.name, wide), copy=False)


def is_numeric(values: Any) -> bool:
    """Whether single values are numbers; text that reads as a number is not, unless all of its column is."""
    if isinstance(values, Cells):
        return values.is_number
    kind = values.type
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def matrix(block: Block, fields: Sequence[str]) -> Array:
    """Columns of numbers side by side as float64, NaN where missing: (n, len(fields))."""
    if isinstance(block, _TableRows):
        return block.matrix(fields)
    return np.stack([numbers(block[field]) for field in fields], axis=1)


def numbers(values: Any) -> Array:
    """Single values as float64, NaN where missing: (n,).

    Raises:
        ValueError: One is no number; the text says which.
    """
    if isinstance(values, Cells):
        return values.numbers()
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = compute.utf8_trim_whitespace(values)
    try:
        return values.cast(pa.float64(), safe=not pa.types.is_integer(values.type)).to_numpy(
            zero_copy_only=False
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(_offender(str(error), values)) from None


def texts(values: Any) -> list[str | None]:
    """Single values as text, None where missing; a whole number is written without a point."""
    if isinstance(values, Cells):
        return values.texts()
    if pa.types.is_floating(values.type):
        if pa.types.is_float16(values.type):
            values = values.cast(pa.float32())  # Arrow computes nothing of half precision
        values = compute.if_else(compute.is_nan(values), None, values)
        whole = compute.equal(compute.floor(values), values)
        if compute.all(whole).as_py() is not False:
            values = values.cast(pa.int64())
    return [None if text is None else text.strip() or None for text in values.cast(pa.string()).to_pylist()]


def _offender(message: str, values: Any) -> str:
    """Arrow's message names the first value that it could not read."""
    quoted = re.search(r"'(.*)'", message)
    return f"'{quoted[1]}' is no number" if quoted else f"{values.type} is no number"


def rows_at_once(cells: int) -> int:
    return max(1, CELLS_AT_ONCE // max(cells, 1))


def some_of(names: Iterable[str]) -> str:
    """Names as an error message lists them, of many the first."""
    listed = [f"'{name}'" for name in names]
    return ", ".join(listed[:20]) + (", …" if len(listed) > 20 else "")


def _decoded(values: Any) -> Any:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _single(array: Array) -> Array:
    """An array with its row axis alone, where it holds a label per row as (n, 1)."""
    if array.ndim != 2 or array.shape[1] != 1 or array.dtype.kind not in "biufU":
        return array
    with np.errstate(invalid="ignore"):
        labels = array.dtype.kind != "f" or bool((np.isnan(array) | (array == np.floor(array))).all())
    return array[:, 0] if labels else array


def _column(array: Array) -> Any:
    """A NaN in a column of single numbers is a missing cell, as in a table."""
    return pa.array(array, from_pandas=True) if array.ndim == 1 else array


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the libraries say of a damaged file, in one sentence that names it."""
    try:
        yield
    except (TrainingError, InputRefused):
        raise
    except Exception as error:  # parsers raise exceptions of any type on damaged files
        raise DataError(f"{path} cannot be read: {first_line(error)}") from None
