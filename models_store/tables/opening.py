"""Opens the content of a table: unpacks it, and finds the format by its first bytes."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import zstandard

from models_store.errors import UnreadableFile, listed
from models_store.regular import open_regular
from models_store.tables.dialect import Compression, Dialect, Format, TableLayout, footer_lines
from models_store.tables.documents import ExcelSource, JsonSource
from models_store.tables.known import KnownTables
from models_store.tables.parquet import ParquetSource
from models_store.tables.sources import Source
from models_store.tables.text import TextSource

Opener: TypeAlias = Callable[[], BinaryIO]
DAMAGED = (OSError, EOFError, zlib.error, zstandard.ZstdError, ValueError)


_LABELS = "save it as CSV, with labels instead of codes where they are categories"
OTHER_FORMATS = {
    b"\xd0\xcf\x11\xe0": "an old Excel book (.xls), or one with a password; save it without, as .xlsx or CSV",
    b"SQLite format 3\0": "a database of SQLite; export its table as CSV or Parquet",
    b"BZh9": "compressed by bzip2; unpack it, or compress it by gzip",
    b"\xfd7zXZ\0": "compressed by xz; unpack it, or compress it by gzip",
    b"7z\xbc\xaf\x27\x1c": "an archive of 7-Zip; unpack it and name the table in it",
    b"Rar!\x1a\x07": "an archive of RAR; unpack it and name the table in it",
    b"%PDF-": "a PDF; save its table as CSV",
    b"ARROW1\0": "an Arrow or Feather file; save it as Parquet",
    b"Obj\x01": "an Avro file; save it as Parquet",
    b"$FL2@(#)": f"an SPSS file (.sav); {_LABELS}",
    b"$FL3@(#)": f"an SPSS file (.zsav); {_LABELS}",
    b"<stata_dta>": f"a Stata file (.dta); {_LABELS}",
    b"HEADER RECORD*******": "a SAS transport file; save it as CSV",
    b"\0" * 12 + b"\xc2\xea\x81\x60": "a SAS file (.sas7bdat); save it as CSV",
    b"MATLAB 5.0 MAT-file": "a MATLAB file; save its arrays by scipy.io.loadmat and numpy.savez",
    b"RDX3\n": "an R file; save its table by write.csv",
    b"X\n\0\0": "an R file; save its table by write.csv",
    b"\x80\x04": "a pickle; save its table as Parquet, or its arrays as .npz",
    b"\x80\x05": "a pickle; save its table as Parquet, or its arrays as .npz",
    b"\x89HDF": "an HDF5 file; save its table as CSV or Parquet",
    b"MuData (": "a MuData file, which training alone reads; save its table as CSV or Parquet",
    b"\x93NUMPY": "an array (.npy); save its table as CSV or Parquet",
}
"""By first bytes, what a file is that is no table, and the remedy."""
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
OTHER_TEXTS = {
    "ARFF": rb"(?i)(%[^\n]*\n\s*)*@relation\b",
    "HTML": rb"(?i)<(!doctype html|html|table)\b",
    "XML": rb"<\?xml\b",
    "YAML": rb"(---\s*\n)?- \w+: [^\n]*\n  \w+:",
    "text in the format of LIBSVM": rb"[+-]?[\d.]+( \d+:\S+){2,} *\r?\n[+-]?[\d.]+( \d+:\S+)* *\r?\n",
    "a table drawn with characters": rb"[^\n]*\|[^\n]*\r?\n[ |:+-]*---[ |:+-]*\r?\n|\s*\+-+\+",
    "a text in Rich Text Format": rb"\{\\rtf",
}
"""Patterns of the first bytes of texts that are no table, by name."""


class _Unpacked(io.RawIOBase):
    """Unpacked bytes of a stream; damage is a sentence that names the file."""

    def __init__(self, packed: BinaryIO, where: str, compression: Compression) -> None:
        self._packed, self._where, self._compression = packed, where, compression
        self._stream: Any = (
            gzip.GzipFile(fileobj=packed)
            if compression == "gzip"
            else zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except DAMAGED as error:
            raise UnreadableFile(f"{self._where} is damaged {self._compression}: {error}") from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._packed.close()
        super().close()


def open_source(
    content: Path | bytes, where: str, layout: TableLayout | None, model_tables: KnownTables | None
) -> tuple[Dialect, Source]:
    """The dialect, without its columns, and the rows of a table.

    Raises:
        UnreadableFile: It is no table, or damaged.
    """
    opener, compression = _unpacked(content, where)
    with closing(opener()) as stream:
        start = stream.read(4096)
    kind = _format(start, opener, where)
    if kind == "parquet":
        plain = content if isinstance(content, Path) and compression == "none" else None
        source = ParquetSource(plain or _unpacked_file(opener), where, temporary=plain is None)
        return Dialect(format=kind, compression=compression), source
    if kind == "excel":
        book = ExcelSource(where, partial(_seekable, opener))
        book.footer_lines = footer_lines(layout)
        dialect = Dialect(format=kind, compression=compression, units=book.units)
        return dialect.model_copy(update={"descriptions": book.descriptions, "groups": book.groups}), book
    if kind in ("json", "jsonl"):
        dialect = Dialect(format=kind, compression=compression)
        return dialect, JsonSource(where, opener, lines=kind == "jsonl")
    text = TextSource(where, opener, layout, model_tables)
    return text.dialect.model_copy(update={"compression": compression}), text


def _unpacked(content: Path | bytes, where: str) -> tuple[Opener, Compression]:
    """Opens the content without its compression, from its start, as often as needed."""

    def plain() -> BinaryIO:
        return open_regular(content) if isinstance(content, Path) else io.BytesIO(content)

    try:
        with plain() as stream:
            start = stream.read(4)
    except OSError as error:
        raise UnreadableFile(f"{where} cannot be read: {error.strerror}") from None
    if not start:
        raise UnreadableFile(f"{where} is empty; a table needs a line of headers and rows below it")
    if start.startswith(b"\x1f\x8b"):
        return lambda: io.BufferedReader(_Unpacked(plain(), where, "gzip")), "gzip"
    if start == b"\x28\xb5\x2f\xfd":
        return lambda: io.BufferedReader(_Unpacked(plain(), where, "zstd")), "zstd"
    return plain, "none"


def _format(start: bytes, opener: Opener, where: str) -> Format:
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"PK\x03\x04"):
        return _archive(opener, where)
    if other := next((name for magic, name in OTHER_FORMATS.items() if start.startswith(magic)), None):
        raise UnreadableFile(f"{where} is {other}")
    if start.startswith(UTF16) and start.decode("utf-16", "ignore").lstrip()[:1] in ("[", "{"):
        raise UnreadableFile(f"{where} is JSON in UTF-16; save it as UTF-8")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b'{"', b"{ ", b"{}", b"{\n", b"{\r")):
        with suppress(json.JSONDecodeError, UnicodeDecodeError):
            first = json.loads(text.splitlines()[0])
            lists = [isinstance(one, list) for one in first.values()]
            objects = any(
                isinstance(one, list) and one and isinstance(one[0], dict) for one in first.values()
            )
            by_index = bool(first) and all(isinstance(one, dict) for one in first.values())
            single = len(text.splitlines()) == 1
            return "json" if single and (all(lists) or objects or by_index) else "jsonl"
        return "json" if text.splitlines()[0].count(b"}") == 0 or len(text) >= 4000 else "jsonl"
    if other := next((name for name, begins in OTHER_TEXTS.items() if re.match(begins, text)), None):
        raise UnreadableFile(f"{where} is {other}, which is not read; save it as CSV")
    return "json" if text[:1] == b"[" and text[1:].lstrip()[:1] in (b"{", b"]", b"[") else "csv"


def _archive(opener: Opener, where: str) -> Format:
    try:
        with closing(_seekable(opener)) as stream, zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise UnreadableFile(f"{where} is a damaged archive; make it again") from None
    if any(name.startswith("xl/") for name in names):
        return "excel"
    if "mimetype" in names and "content.xml" in names:
        raise UnreadableFile(f"{where} is an OpenDocument file; save it as .xlsx or CSV")
    raise UnreadableFile(f"{where} is an archive of {listed(names[:5])}; unpack it and name the table in it")


def _seekable(opener: Opener) -> BinaryIO:
    """A stream of the content in which any place can be read: unpacked, a file that the system forgets."""
    stream = opener()
    if stream.seekable():
        return stream
    with closing(stream):
        file: Any = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        shutil.copyfileobj(stream, file)
    file.seek(0)
    return file


def _unpacked_file(opener: Opener) -> Path:
    """A new file with the content."""
    with closing(opener()) as stream, tempfile.NamedTemporaryFile(suffix=".parquet", delete=False) as file:
        shutil.copyfileobj(stream, file)
    return Path(file.name)
