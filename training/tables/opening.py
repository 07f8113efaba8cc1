"""Which of the formats a file has."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from models_store.regular import open_regular
from models_store.tables.dialect import FileDialect
from models_store.tables.opening import OTHER_FORMATS
from training.errors import DataError
from training.tables.files import LARGE_PARQUET, ArrayFile, File, ParquetFile, TableFile, reading
from training.tables.marks import NO_MARKS, Marks
from training.tables.mudata import MuDataFile

TEXT_WITH_ZEROS = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xff\xfe", b"\xfe\xff")
"""Starts of gzip, zstd and UTF-16."""
ARRAYS = {b"\x93NUMPY", b"\x89HDF", b"MuData ("}
"""Starts of files of arrays, which training reads."""
MOSTLY = 0.9
"""Share of a text that its printable bytes are at least."""
TABLES = (".csv", ".tsv", ".parquet")


def open_file(path: Path, how: FileDialect | None = None, marks: Marks = NO_MARKS) -> File:
    """Opens a file, whose format its first bytes determine; of a folder, the one table in it.

    Arguments:
        path: Path of the file.
        how: What is known of how a table is written; the rest is detected.
        marks: Cells that mean a missing value, besides empty ones.

    Raises:
        DataError: There is no such file, or it is of no known format.
    """
    if os.path.isdir(path):  # noqa: PTH112 - a name that is too long is none
        path = _table_in(path)
    try:
        with open_regular(path) as stream:
            start = stream.read(4096)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if not start:
        raise DataError(f"{path} is empty")
    with reading(path):
        if start.startswith(b"PAR1"):
            return ParquetFile(path, marks) if _cells(path) > LARGE_PARQUET else TableFile(path, how, marks)
        if _is_workbook(path, start) or start.startswith(tuple(OTHER_FORMATS.keys() - ARRAYS)):
            return TableFile(path, how, marks)
        if start.startswith((b"\x93NUMPY", b"PK\x03\x04")):
            return ArrayFile(path, marks, zipped=start.startswith(b"PK"))
        if start.startswith((b"\x89HDF", b"MuData (")):  # MuData writes its name before the HDF5
            return MuDataFile(path, marks)
        if b"\0" not in start or start.startswith(TEXT_WITH_ZEROS) or _is_text(start):
            return TableFile(path, how, marks)
    raise DataError(
        f"{path} is none of CSV, Parquet, Excel, npz, npy, h5mu, h5ad: it begins with {start[:8]!r}"
    )


def _is_text(start: bytes) -> bool:
    """Whether bytes with zeros are text: UTF-16 without a mark, or text with few zeros in it."""
    printable = sum(byte >= 32 or byte in b"\t\r\n" for byte in start)
    fewer, more = sorted(half.count(0) / max(1, len(half)) for half in (start[::2], start[1::2]))
    return printable > MOSTLY * len(start) or (fewer < 1 - MOSTLY and more > MOSTLY)


def _cells(path: Path) -> int:
    """The number of cells that a Parquet file states; 0 where Arrow does not know one of its types."""
    try:
        stated = parquet.read_metadata(path)
    except pa.ArrowNotImplementedError:
        return 0
    return int(stated.num_rows * stated.num_columns)


def _is_workbook(path: Path, start: bytes) -> bool:
    """Whether this is an archive that holds a workbook, of Excel or OpenDocument."""
    if not start.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return not {"xl/workbook.xml", "content.xml"}.isdisjoint(archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _table_in(folder: Path) -> Path:
    tables = sorted(path for path in folder.iterdir() if path.suffix in TABLES)
    if len(tables) != 1:
        there = ", ".join(path.name for path in tables) or "none"
        raise DataError(f"the folder {folder} must hold one table ({', '.join(TABLES)}), it holds {there}")
    return tables[0]
