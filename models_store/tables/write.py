"""Writes a table as another one is written."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import zstandard

from models_store.errors import UnreadableFile
from models_store.tables.dialect import Dialect
from models_store.tables.documents import write_excel, write_json
from models_store.tables.parquet import write_parquet
from models_store.tables.sources import Cell
from models_store.tables.text import write_text


def write_table(path: Path, dialect: Dialect, rows: Iterable[Sequence[Cell]]) -> None:
    """Writes rows with the headers, order and marks of a dialect, in bounded memory.

    Arguments:
        path: Path of the new file; its folder must exist.
        dialect: How to write it.
        rows: Each with a cell for every column; text of cells is written as it is.

    Raises:
        UnreadableFile: A column is of a type that cannot be written back.
    """
    if dialect.format == "parquet":
        lost = [column.header for column in dialect.columns if column.content == "unread"]
        if lost:
            raise UnreadableFile(
                f"column '{lost[0]}' cannot be written back to Parquet; leave it out of the table"
            )
        write_parquet(path, dialect, iter(rows))
        return
    with ExitStack() as stack:
        stream: Any = stack.enter_context(path.open("wb"))
        if dialect.compression == "gzip":
            stream = stack.enter_context(gzip.GzipFile(fileobj=stream, mode="wb", mtime=0))
        elif dialect.compression == "zstd":
            stream = stack.enter_context(zstandard.ZstdCompressor().stream_writer(stream, closefd=False))
        _write(stream, dialect, rows)


def _write(stream: Any, dialect: Dialect, rows: Iterable[Sequence[Cell]]) -> None:
    if dialect.format == "excel":
        write_excel(stream, dialect, iter(rows))
    elif dialect.format in ("json", "jsonl"):
        write_json(stream, dialect, iter(rows))
    else:
        text = io.TextIOWrapper(stream, dialect.encoding, newline="")
        write_text(text, dialect, iter(rows))
        text.flush()
        text.detach()
