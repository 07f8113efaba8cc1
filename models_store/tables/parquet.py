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
from models_store.tables import arrow
from models_store.tables.dialect import ColumnDialect
from models_store.tables.output import AddedColumn, Plan, Writer, typed
from models_store.tables.sources import Source

ROWS_AT_ONCE = 256
UNREADABLE = ("STRUCT", "MAP", "BLOB", "UNION", "BIT", "GEOMETRY", "VARIANT", "INTERVAL")
"""Types of which no cell can be made."""
_NUMBER = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")
"""Types of the numbers in a list that is a vector."""
_BITS = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


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
        metadata: Texts that the file holds beside its rows, by key.
        milliseconds: Names of the columns of times in milliseconds without a time zone.
    """

    def __init__(self, path: Path, where: str, temporary: bool = False) -> None:
        import duckdb

        self.path, self._where = path, where
        if temporary:
            weakref.finalize(self, path.unlink, missing_ok=True)
        connection = connect()
        try:
            described = connection.execute(
                "DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)", [str(path)]
            ).fetchall()
            nodes = connection.execute(
                "SELECT name, num_children, logical_type FROM parquet_schema(?)", [str(path)]
            ).fetchall()
            pairs = connection.execute(
                "SELECT key, value FROM parquet_kv_metadata(?)", [str(path)]
            ).fetchall()
        except duckdb.Error as error:
            raise UnreadableFile(f"{where} cannot be read as Parquet: {_first_line(error)}") from None
        fields = _children(nodes)
        self.headers = tuple(name for name, *_ in fields)
        self.metadata = {bytes(key): bytes(value) for key, value in pairs}
        self.durations = arrow.duration_units(self.metadata.get(arrow.KEY.encode(), b""))
        self.stored = tuple(kind for _, kind, *_ in described)
        self.columns = [name for name, *_ in described]
        self.milliseconds = {
            name
            for (name, kind, *_), (*_, logical) in zip(described, fields, strict=True)
            if kind == "TIMESTAMP" and "MILLIS=MilliSeconds" in (logical or "")
        }

    def rows(self) -> Iterator[Sequence[Any]]:
        import duckdb

        selected = ", ".join(
            "NULL" if is_unreadable(kind) else _identifier(name)
            for name, kind in zip(self.columns, self.stored or (), strict=True)
        )
        connection = connect()
        try:
            query = f"SELECT {selected} FROM read_parquet(?, hive_partitioning = false)"  # noqa: S608 - names are quoted
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
            kinds = self._original.stored or ()
            columns = self.plan.columns
            cells = [_limited(_with_unit(fills.get(at), columns[at]), kinds[at]) for at in self.plan.fillable]
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
                connection.execute(f"COPY ({self._query()}) TO '{_literal(self._path)}' ({self._options()})")
            except duckdb.Error as error:
                raise UnreadableFile(f"Parquet cannot be written: {_first_line(error)}") from None

    def cancel(self) -> None:
        self._stream.close()
        self._folder.cleanup()

    def _options(self) -> str:
        """Options of the new file: what the original holds beside its rows, with the added columns."""
        pairs = dict(self._original.metadata) if self._original is not None else {}
        added = [(column.header, _content(column)) for column in self.plan.added]
        if schema := pairs.pop(_SCHEMA, None):
            pairs[_SCHEMA] = arrow.extended(schema, added) or b""
        texts = {_decoded(key): _decoded(value) for key, value in pairs.items() if value}
        named = [f"'{_literal(key)}': '{_literal(value)}'" for key, value in texts.items() if key and value]
        return f"FORMAT parquet, KV_METADATA {{{', '.join(named)}}}" if named else "FORMAT parquet"

    def _query(self) -> str:
        original, plan = self._original, self.plan
        at_fill = plan.fillable if original is not None else range(len(plan.columns))
        fills = {at: f"f.c{index}" for index, at in enumerate(at_fill)}
        cells = [self._cell(at, column, fills) for at, column in enumerate(plan.columns)]
        selected = [
            f"{cell} AS {_identifier(column.header)}"
            for cell, column in zip(cells, plan.columns, strict=True)
        ]
        for index, further in enumerate(plan.added, start=len(fills)):
            kind = {"text": "VARCHAR", "number": "DOUBLE", "vector": "DOUBLE[]"}[_content(further)]
            selected.append(f"CAST(f.c{index} AS {kind}) AS {_identifier(further.header)}")
        names = ", ".join(f"'c{at}': 'VARCHAR'" for at in range(len(fills) + len(plan.added)))
        rows = (
            f"read_csv('{_literal(self._stream.name)}', columns={{{names}}}, header=false, delim=',', "
            f"quote='\"', escape='\"', nullstr='{_NULL}', auto_detect=false, max_line_size={2**28}) f"
        )
        if original is not None:
            copied = f"read_parquet('{_literal(original.path)}', hive_partitioning = false) o"
            rows = f"{copied} POSITIONAL JOIN {rows}" if names else copied
        return f"SELECT {', '.join(selected)} FROM {rows}"  # noqa: S608 - names are quoted

    def _cell(self, at: int, column: ColumnDialect, fills: Mapping[int, str]) -> str:
        """Expression for a column: of the rows of text, or of the original where that has a value."""
        original = self._original
        if original is None:
            is_number = column.content == "number" and not column.has_unit
            return f"CAST({fills[at]} AS {'DOUBLE' if is_number else 'VARCHAR'})"
        cell, kind = f"o.{_identifier(original.columns[at])}", (original.stored or ())[at]
        if at in fills:
            cell = f"CASE WHEN {fills[at]} IS NULL THEN {cell} ELSE CAST({fills[at]} AS {kind}) END"
        return f"CAST({cell} AS TIMESTAMP_MS)" if original.columns[at] in original.milliseconds else cell


_NULL = "\\N"
_SCHEMA = arrow.KEY.encode()


def _content(column: AddedColumn) -> arrow.Content:
    """Content of an added column; numbers with a unit are text."""
    return "text" if column.like is not None and column.like.has_unit else column.content


def _decoded(text: bytes) -> str:
    """A text of the file; empty where it is not UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return ""


def _limited(value: Any, stored: str) -> Any:
    """A number, or list of numbers, within the bounds of a type of whole or decimal numbers."""
    if isinstance(value, list):
        return [_limited(item, stored.partition("[")[0]) for item in value]
    if not isinstance(value, float):
        return value
    if match := _DECIMAL.fullmatch(stored):
        most = (10 ** int(match[1]) - 1) / 10 ** int(match[2])
        return min(max(value, -most), most)
    bits = _BITS.get(stored.removeprefix("U"))
    if bits is None:
        return value
    low, high = (0, 2**bits - 1) if stored.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return min(max(round(value), low), high)


def _with_unit(value: Any, column: ColumnDialect | None) -> Any:
    """A number as text where those of its column have a unit, else the value."""
    return typed(value, column) if column is not None and column.has_unit else value


def _as_text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return json.dumps(cell, default=str) if isinstance(cell, list | dict) else str(cell)


def _children(nodes: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Nodes of the columns, whose names DuckDB makes unique elsewhere: the children of the root.

    Arguments:
        nodes: Name, number of children and further properties of each node of the schema.
    """
    fields, at = [], 1
    while at < len(nodes):
        fields.append(nodes[at])
        pending = 1
        while pending:
            pending += (nodes[at][1] or 0) - 1
            at += 1
    return fields


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(path: Path | str) -> str:
    return str(path).replace("'", "''")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
