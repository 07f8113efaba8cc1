"""Writes a table as another one is written, or in the format that a file name states."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from models_store.errors import UnreadableFile
from models_store.tables.dialect import Compression, Dialect, Format
from models_store.tables.documents import ExcelWriter, JsonWriter
from models_store.tables.output import Plan, Writer
from models_store.tables.parquet import ParquetSource, ParquetWriter
from models_store.tables.text import TextWriter

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}


def dialect_for(name: str, dialect: Dialect) -> Dialect:
    """The dialect of a new file: its name states format and compression, all else is as in another table.

    Arguments:
        name: Name of the new file; where its ending is none of the known ones, its format is the table's.
        dialect: How the table is written.
    """
    path = Path(name)
    compression = COMPRESSIONS.get(path.suffix.lower(), "none")
    ending = (path.with_suffix("") if compression != "none" else path).suffix.lower()
    kind = FORMATS.get(ending, dialect.format)
    changes: dict[str, Any] = {"format": kind, "compression": compression}
    if kind == "csv" and dialect.format != "csv":
        changes["delimiter"] = "\t" if ending == ".tsv" else ","
    return dialect.model_copy(update=changes)


@contextmanager
def table_writer(target: Path | BinaryIO, plan: Plan) -> Iterator[Writer]:
    """Opens a file for rows, which are written in bounded memory; it is complete at the end of the block.

    Arguments:
        target: Path of the new file, whose folder must exist, or an open file, which stays open.
        plan: What to write.

    Raises:
        UnreadableFile: A column cannot be written in this format, or the format needs a path.
    """
    dialect = plan.dialect
    _check(target, plan)
    with ExitStack() as stack:
        if dialect.format == "parquet":
            writer: Writer = ParquetWriter(target, plan)  # type: ignore[arg-type]  # checked above
        else:
            stream = stack.enter_context(target.open("wb")) if isinstance(target, Path) else target
            if dialect.compression == "gzip":
                stream = stack.enter_context(gzip.GzipFile(fileobj=stream, mode="wb", mtime=0))  # type: ignore[assignment]
            elif dialect.compression == "zstd":
                stream = stack.enter_context(zstandard.ZstdCompressor().stream_writer(stream, closefd=False))
            kinds = {"excel": ExcelWriter, "csv": TextWriter}
            writer = kinds.get(dialect.format, JsonWriter)(stream, plan)
        try:
            yield writer
        except BaseException:
            writer.cancel()
            raise
        writer.close()


def _check(target: Path | BinaryIO, plan: Plan) -> None:
    kind = plan.dialect.format
    if kind == "parquet" and not isinstance(target, Path):
        raise UnreadableFile("Parquet cannot be written to a stream; name a file for it")
    if kind == "parquet" and plan.dialect.compression != "none":
        raise UnreadableFile("Parquet is compressed within; name a file that ends in .parquet")
    lost = [column.header for column in plan.columns if column.content == "unread" and column.header.strip()]
    if lost and isinstance(plan.source, ParquetSource) and kind != "parquet":
        raise UnreadableFile(
            f"column '{lost[0]}' can be written to Parquet alone; name a file that ends in .parquet, or "
            "leave the column out of the table"
        )
