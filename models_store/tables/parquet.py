"""Parquet, read and written by DuckDB, so that the service needs no pyarrow."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from models_store.errors import UnreadableFile
from models_store.tables.dialect import Dialect
from models_store.tables.sources import Cell, Source, as_cell

ROWS_AT_ONCE = 256
UNREADABLE = ("STRUCT", "MAP", "BLOB", "UNION", "BIT", "GEOMETRY", "VARIANT", "INTERVAL")
"""Types of which no cell can be made."""


class ParquetSource(Source):
    """A Parquet file on disk.

    Arguments:
        path: Where it lies.
        where: The file, for messages.
    """

    def __init__(self, path: Path, where: str) -> None:
        self._path, self._where = path, where
        connection = duckdb.connect()
        try:
            described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
            nodes = connection.execute(
                "SELECT name, num_children FROM parquet_schema(?)", [str(path)]
            ).fetchall()
        except duckdb.Error as error:
            raise UnreadableFile(f"{where} cannot be read as Parquet: {_first_line(error)}") from None
        self.headers = _children(nodes)
        self.stored = tuple(kind for _, kind, *_ in described)
        self._columns = [name for name, *_ in described]

    def rows(self) -> Iterator[Sequence[Cell]]:
        selected = ", ".join(
            "NULL" if is_unreadable(kind) else _identifier(name)
            for name, kind in zip(self._columns, self.stored or (), strict=True)
        )
        connection = duckdb.connect(config={"threads": 1})
        try:
            query = f"SELECT {selected} FROM read_parquet(?)"  # noqa: S608 - names are quoted
            matches = connection.execute(query, [str(self._path)])
            while block := matches.fetchmany(ROWS_AT_ONCE):
                for row in block:
                    yield [as_cell(value) for value in row]
        except duckdb.Error as error:
            raise UnreadableFile(f"{self._where} cannot be read as Parquet: {_first_line(error)}") from None
        finally:
            connection.close()


def is_unreadable(stored: str) -> bool:
    """Whether a type of DuckDB holds no single value, text or list of numbers."""
    return stored.startswith(UNREADABLE) or (
        stored.endswith("[]") and (stored.count("[") > 1 or stored.startswith("VARCHAR"))
    )


def write_parquet(path: Path, dialect: Dialect, rows: Iterator[Sequence[Cell]]) -> None:
    """Writes rows with the types that the dialect has stored, through a file of text beside the target."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        text = Path(folder, "rows.csv")
        with text.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            for row in rows:
                writer.writerow([_NULL if cell is None else _as_text(cell) for cell in row])
        names = [f"c{at}" for at in range(len(dialect.columns))]
        kinds = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
        casts = ", ".join(
            f"CAST({name} AS {column.stored or 'VARCHAR'}) AS {_identifier(column.header)}"
            for name, column in zip(names, dialect.columns, strict=True)
        )
        query = (
            f"COPY (SELECT {casts} FROM read_csv(?, columns={{{kinds}}}, header=false, delim=',', "  # noqa: S608
            f"quote='\"', escape='\"', nullstr='{_NULL}', auto_detect=false)) "
            f"TO '{_literal(path)}' (FORMAT parquet)"
        )
        duckdb.connect(config={"threads": 1}).execute(query, [str(text)])


_NULL = "\\N"


def _as_text(cell: Cell) -> str:
    return json.dumps(cell) if isinstance(cell, list) else str(cell)


def _children(nodes: Sequence[tuple[str, int | None]]) -> tuple[str, ...]:
    """Names of the columns, which DuckDB makes unique, as the file has them: the children of the root."""
    names, at = [], 1
    while at < len(nodes):
        names.append(nodes[at][0])
        pending = 1
        while pending:
            pending += (nodes[at][1] or 0) - 1
            at += 1
    return tuple(names)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(path: Path) -> str:
    return str(path).replace("'", "''")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
