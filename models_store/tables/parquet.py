"""Parquet, read and written by DuckDB, so that the service needs no pyarrow."""

from __future__ import annotations

import csv
import json
import re
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models_store.errors import UnreadableFile
from models_store.tables.dialect import ColumnDialect
from models_store.tables.durations import duration_units
from models_store.tables.output import Plan, Writer, typed
from models_store.tables.sources import Source

ROWS_AT_ONCE = 256
UNREADABLE = ("STRUCT", "MAP", "BLOB", "UNION", "BIT", "GEOMETRY", "VARIANT", "INTERVAL")
"""Types of which no cell can be made."""
_NUMBER = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")
"""Types of the numbers in a list that is a vector."""


def connect() -> Any:
    """A connection to DuckDB with one thread and without its progress bar, which goes to standard output."""
    import duckdb  # here, since most requests need none and it takes a tenth of a second

    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET enable_progress_bar = false")
    return connection


@dataclass(frozen=True)
class Footer:
    """Rows and columns of a Parquet file, of which no cell is read.

    Arguments:
        rows: Number of rows.
        columns: Name and type of each node of the schema below the root, in the order of the file.
    """

    rows: int
    columns: tuple[tuple[str, str], ...]


def read_footer(path: str, where: str, connection: Any) -> Footer:
    """Reads the footer of a Parquet file.

    Arguments:
        path: Path, or an address of a file system that is registered with the connection.
        where: The file, for messages.
        connection: Connection to DuckDB.

    Raises:
        UnreadableFile: The file is not Parquet, or damaged.
    """
    import duckdb

    nodes = "name, concat_ws(' ', coalesce(logical_type, converted_type, type), num_children)"
    try:
        ((rows,),) = connection.execute(
            "SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata(?)", [path]
        ).fetchall()
        schema = connection.execute(f"SELECT {nodes} FROM parquet_schema(?)", [path]).fetchall()  # noqa: S608
    except duckdb.Error as error:
        raise UnreadableFile(f"{where} cannot be read as Parquet: {_first_line(error)}") from None
    return Footer(rows, tuple(schema[1:]))


class ParquetSource(Source):
    """A Parquet file on disk.

    Arguments:
        path: Where it lies.
        where: The file, for messages.
        temporary: Whether the file is deleted with this object.
        columns: Names of its columns as DuckDB makes them unique.
        durations: Units of its columns of durations, by header.
    """

    def __init__(self, path: Path, where: str, temporary: bool = False) -> None:
        import duckdb

        self.path, self._where = path, where
        if temporary:
            weakref.finalize(self, path.unlink, missing_ok=True)
        connection = connect()
        try:
            described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
            nodes = connection.execute(
                "SELECT name, num_children FROM parquet_schema(?)", [str(path)]
            ).fetchall()
            schemas = connection.execute(
                "SELECT value FROM parquet_kv_metadata(?) WHERE key = 'ARROW:schema'", [str(path)]
            ).fetchall()
        except duckdb.Error as error:
            raise UnreadableFile(f"{where} cannot be read as Parquet: {_first_line(error)}") from None
        self.headers = _children(nodes)
        self.durations = duration_units(bytes(schemas[0][0])) if schemas else {}
        self.stored = tuple(kind for _, kind, *_ in described)
        self.columns = [name for name, *_ in described]

    def rows(self) -> Iterator[Sequence[Any]]:
        import duckdb

        selected = ", ".join(
            "NULL" if is_unreadable(kind) else _identifier(name)
            for name, kind in zip(self.columns, self.stored or (), strict=True)
        )
        connection = connect()
        try:
            query = f"SELECT {selected} FROM read_parquet(?)"  # noqa: S608 - names are quoted
            matches = connection.execute(query, [str(self.path)])
            while block := matches.fetchmany(ROWS_AT_ONCE):
                yield from block
        except duckdb.Error as error:
            raise UnreadableFile(f"{self._where} cannot be read as Parquet: {_first_line(error)}") from None
        finally:
            connection.close()


def is_unreadable(stored: str) -> bool:
    """Whether a type of DuckDB holds no single value, text or list of numbers."""
    element, bracket, _ = stored.rpartition("[")
    is_list = bool(bracket) and stored.endswith("]")
    return stored.startswith(UNREADABLE) or (is_list and not _NUMBER.fullmatch(element))


class ParquetWriter(Writer):
    """Writes rows through a file of text beside the target.

    Columns of a Parquet file that are not filled are copied by DuckDB from that file, with their types.

    Arguments:
        path: Path of the new file.
        plan: What to write.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        super().__init__(plan)
        self._path = path
        self._folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=".anyview-")
        text = Path(self._folder.name, "rows.csv")
        self._stream = text.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream)
        self._original = plan.source if isinstance(plan.source, ParquetSource) else None

    def append(self, row: Sequence[Any], fills: Mapping[int, Any], added: Sequence[Any]) -> None:
        if self._original is not None:
            cells = [_with_unit(fills.get(at), self.plan.columns[at]) for at in self.plan.fillable]
        else:
            cells = [typed(fills.get(at, row[at]), column) for at, column in enumerate(self.plan.columns)]
        further = [
            _with_unit(value, column.like) for value, column in zip(added, self.plan.added, strict=True)
        ]
        self._writer.writerow([_NULL if cell is None else _as_text(cell) for cell in (*cells, *further)])

    def close(self) -> None:
        import duckdb

        self._stream.close()
        with self._folder as folder, connect() as connection:
            connection.execute(f"SET temp_directory = '{_literal(folder)}'")
            try:
                connection.execute(f"COPY ({self._query()}) TO '{_literal(self._path)}' (FORMAT parquet)")
            except duckdb.Error as error:
                raise UnreadableFile(f"Parquet cannot be written: {_first_line(error)}") from None

    def cancel(self) -> None:
        self._stream.close()
        self._folder.cleanup()

    def _query(self) -> str:
        original, plan = self._original, self.plan
        at_fill = list(plan.fillable) if original is not None else list(range(len(plan.columns)))
        fills = {at: f"f.c{index}" for index, at in enumerate(at_fill)}
        selected = []
        for at, column in enumerate(plan.columns):
            if original is None:
                is_number = column.content == "number" and not column.has_unit
                cell = f"CAST({fills[at]} AS {'DOUBLE' if is_number else 'VARCHAR'})"
            else:
                cell = f"o.{_identifier(original.columns[at])}"
                if at in fills:
                    kind = (original.stored or ())[at]
                    cell = f"CASE WHEN {fills[at]} IS NULL THEN {cell} ELSE CAST({fills[at]} AS {kind}) END"
            selected.append(f"{cell} AS {_identifier(column.header)}")
        for index, further in enumerate(plan.added, start=len(at_fill)):
            is_text = further.content == "text" or (further.like is not None and further.like.has_unit)
            kind = "VARCHAR" if is_text else f"DOUBLE{'[]' * (further.content == 'vector')}"
            selected.append(f"CAST(f.c{index} AS {kind}) AS {_identifier(further.header)}")
        names = ", ".join(f"'c{at}': 'VARCHAR'" for at in range(len(at_fill) + len(plan.added)))
        rows = (
            f"read_csv('{_literal(self._stream.name)}', columns={{{names}}}, header=false, delim=',', "
            f"quote='\"', escape='\"', nullstr='{_NULL}', auto_detect=false, max_line_size={2**28}) f"
        )
        if original is not None:
            copied = f"read_parquet('{_literal(original.path)}') o"
            rows = f"{copied} POSITIONAL JOIN {rows}" if names else copied
        return f"SELECT {', '.join(selected)} FROM {rows}"  # noqa: S608 - names are quoted


_NULL = "\\N"


def _with_unit(value: Any, column: ColumnDialect | None) -> Any:
    """A number as text where those of its column have a unit, else the value."""
    return typed(value, column) if column is not None and column.has_unit else value


def _as_text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return json.dumps(cell, default=str) if isinstance(cell, list | dict) else str(cell)


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


def _literal(path: Path | str) -> str:
    return str(path).replace("'", "''")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
