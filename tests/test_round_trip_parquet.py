"""Parquet of the types that Arrow and DuckDB write comes back as it was, its gaps filled."""

from __future__ import annotations

import tomllib
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from models_store.folder import open_bundle
from models_store.tables import arrow
from tests.round_trip import check_law, imputed, publish_for
from tests.test_round_trip import ROWS, here, law, records
from training.tables.guess import guess

__all__ = ["here"]


def test_parquet() -> None:
    table = pa.table(
        {
            "size": pa.array([record["size"] for record in records()], pa.float32()),
            "smokes": [record["smokes"] for record in records()],
            "grade": pa.array([record["grade"] for record in records()], pa.int8()),
            "kind": pa.array([["a", "b", None][row % 3] for row in range(ROWS)]).dictionary_encode(),
            "dose": [record["dose"] for record in records()],
            "deep": [{"a": row} for row in range(ROWS)],
            "bytes": [b"\xff" + bytes([row]) for row in range(ROWS)],
            "vector": [[row * 3 % 7 + 0.5, None if row == 9 else 1.5 * (row % 5)] for row in range(ROWS)],
            "day": pa.array(range(ROWS), pa.date32()),
        }
    )
    parquet.write_table(table, "made.parquet")
    law(Path("made.parquet").read_bytes(), "x.parquet")


def test_parquet_of_any_type_that_arrow_writes() -> None:
    rng = np.random.default_rng(0)
    numbers = [None if row % 6 == 0 else round(value, 2) for row, value in enumerate(rng.normal(50, 9, ROWS))]
    whole = [None if number is None else int(number) for number in numbers]
    table = {
        "size": pa.array(numbers),
        "half": pa.array(np.array([number or np.nan for number in numbers], np.float16)),
        "price": pa.array(whole, pa.int32()).cast(pa.decimal128(12, 2)),
        "wide": pa.array(whole, pa.int64()).cast(pa.decimal256(50, 2)),
        "unsigned": pa.array(whole, pa.uint16()),
        "lasts": pa.array(whole, pa.duration("ms")),
        "at": pa.array([row * 61 for row in range(ROWS)], pa.time32("s")),
        "seen": pa.array([row * 10**14 for row in range(ROWS)], pa.timestamp("ns", "UTC")),
        "uuid": pa.array([bytes([row] * 16) for row in range(ROWS)], pa.binary(16)),
        "kind": pa.array([["a", "b", None][row % 3] for row in range(ROWS)]).dictionary_encode(),
        "large": pa.array([["x", "y", None][row % 3] for row in range(ROWS)], pa.large_string()),
        "grade": pa.array([row % 4 if row % 5 else None for row in range(ROWS)]).dictionary_encode(),
        "days": pa.array([[row, row + 1] for row in range(ROWS)], pa.list_(pa.date32())),
        "flags": [[bool(row % 2), True] for row in range(ROWS)],
        "words": [["a", "b"] for _ in range(ROWS)],
        "square": [[[1.0, 2.0], [3.0, row]] for row in range(ROWS)],
        "levels": pa.array([[number, 1.5] for number in numbers], pa.large_list(pa.float32())),
        "counts": pa.array([[number, 2, 3] for number in whole], pa.list_(pa.int16(), 3)),
        "map": pa.array([[("k", row)] for row in range(ROWS)], pa.map_(pa.string(), pa.int8())),
        "nothing": pa.nulls(ROWS),
    }
    parquet.write_table(pa.table(table), "made.parquet")
    law(Path("made.parquet").read_bytes(), "x.parquet")
    before, after = (parquet.read_schema(name) for name in ("made.parquet", "filled-x.parquet"))
    assert after.names[: len(table)] == before.names
    manifest = open_bundle(next(Path("store", "kinds").iterdir())).manifest
    single = {one.field for one in manifest.modalities if one.field}
    columns = {column.name for one in manifest.modalities for column in one.columns or ()}
    assert single == {"kind", "large", "grade", "levels", "counts"}
    assert columns == {"size", "half", "price", "wide", "unsigned", "lasts"}


def test_parquet_of_any_type_that_duckdb_writes() -> None:
    columns = """
        CASE WHEN i % 7 > 0 THEN 50 + 10 * sin(i * 1.7) END AS size, INTERVAL (i) HOUR AS lasts, uuid() AS u,
        TIME '10:00:00' + INTERVAL (i) MINUTE AS at, TIMESTAMPTZ '2020-01-01' + INTERVAL (i) DAY AS seen,
        CASE WHEN i % 5 > 0 THEN (i * 1.37 + i % 3)::DECIMAL(12, 3) END AS price, [i, i % 3 + 0.5] AS pair,
        CASE WHEN i % 4 > 0 THEN i % 2 = 0 END AS flag, [i % 5, 2, 3]::INTEGER[3] AS tri, [[i], [i]] AS deep,
        CASE WHEN i % 4 > 0 THEN (['lo', 'hi'])[1 + i % 2]::ENUM('lo', 'hi') END AS level, {'a': i} AS s,
        MAP {'k': i} AS m, ['a', 'b'] AS words, 'x'::BLOB AS b, '101'::BIT AS bits, union_value(n := i) AS v
    """
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT {columns} FROM range({ROWS}) t(i)) TO 'made.parquet'")  # noqa: S608
    law(Path("made.parquet").read_bytes(), "x.parquet")


@pytest.mark.parametrize(("kind", "unit"), [("s", "s"), ("ms", "ms"), ("us", "µs"), ("ns", "ns")])
def test_durations_have_their_unit(tmp_path: Path, kind: str, unit: str) -> None:
    rows = [None if row % 5 == 0 else 1000 * row % 77 for row in range(40)]
    sizes = [row % 7 + 0.5 for row in range(40)]
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"größe": sizes, "stay": pa.array(rows, pa.duration(kind))}), path)
    guessed = guess([path], tmp_path / "x.toml")
    (columns,) = (one["columns"] for one in tomllib.loads(guessed.text)["modalities"].values())
    assert [column.get("unit") for column in columns] == [None, unit]
    assert f"'stay' holds durations, read as whole numbers of {unit}" in "\n".join(guessed.report)
    filled = parquet.read_table(imputed(publish_for(tmp_path, [path]), path, tmp_path / "filled.parquet"))
    assert filled.schema.field("stay").type == pa.duration(kind)
    after = filled.column("stay").cast(pa.int64()).to_pylist()
    assert all(
        new == row if row is not None else isinstance(new, int) for new, row in zip(after, rows, strict=True)
    )


def test_types_of_arrow_come_back() -> None:
    """Also those that Parquet lacks; text of categories, time zones and units stay as they are."""
    words = [["lo", "hi", None][row % 3] for row in range(ROWS)]
    times = [row * 10**6 for row in range(ROWS)]
    table = {
        "size": [None if row % 6 == 0 else row * 7 % 50 / 4 for row in range(ROWS)],
        "byte": pa.array(
            [None if row % 5 == 0 else row * 7 % 50 // 12 * 13 for row in range(ROWS)], pa.uint8()
        ),
        "lasts": pa.array(
            [None if row % 5 == 0 else row * 61 % 50 for row in range(ROWS)], pa.duration("ns")
        ),
        "kind": pa.array(words).dictionary_encode(),
        "level": pa.array(words).cast(pa.dictionary(pa.int8(), pa.string(), ordered=True)),
        "large": pa.array(words, pa.large_string()),
        "view": pa.array(words, pa.string_view()),
        "pair": pa.array([[row * 7 % 50, None] for row in range(ROWS)], pa.list_(pa.float32(), 2)),
        "local": pa.array(times, pa.timestamp("ns", "Europe/Berlin")),
        "utc": pa.array(times, pa.timestamp("us", "UTC")),
        "plain": pa.array(times, pa.timestamp("ms")),
        "day": pa.array(range(ROWS), pa.date32()),
    }
    parquet.write_table(pa.table(table).replace_schema_metadata({"note": "it's kept"}), "made.parquet")
    law(Path("made.parquet").read_bytes(), "x.parquet")
    before, after = (parquet.read_table(name) for name in ("made.parquet", "filled-x.parquet"))
    assert after.schema.types[: len(table)] == before.schema.types
    assert after.schema.metadata == {b"note": b"it's kept"}
    assert after.schema.field("size.low").type == pa.float64()
    assert after.schema.field("kind.probability").type == pa.float64()
    assert after.schema.field("pair.high").type == pa.list_(pa.field("element", pa.float64()))


def test_the_index_of_a_data_frame_comes_back() -> None:
    rng = np.random.default_rng(0)
    index = pd.Index([f"p{row}" for row in range(ROWS)], name="patient")
    groups = pd.Categorical(rng.choice(["b", "a"], ROWS), ["a", "b"], ordered=True)
    frame = pd.DataFrame({"size": rng.normal(50, 9, ROWS), "group": groups}, index)
    frame.iloc[3, 0] = frame.iloc[5, 1] = None
    frame.to_parquet("made.parquet")
    law(Path("made.parquet").read_bytes(), "x.parquet")
    filled = pd.read_parquet("filled-x.parquet")
    assert filled.index.equals(frame.index)
    assert filled["group"].dtype == frame["group"].dtype


def test_a_folder_named_like_a_partition_adds_no_column() -> None:
    Path("year=2020").mkdir()
    sizes = [row * 7 % 50 / 4 if row % 6 else None for row in range(ROWS)]
    file = Path("year=2020", "x.parquet")
    parquet.write_table(pa.table({"size": sizes, "other": sizes[::-1]}), file)
    check_law(publish_for(Path.cwd(), [file]), file)


@pytest.mark.parametrize("schema", [b"", b"bm8gc2NoZW1h", b"////", b"/////w=="])
def test_a_schema_of_arrow_that_cannot_be_read_is_left_out(schema: bytes) -> None:
    assert arrow.extended(schema, [("a", "number")]) is None
    assert arrow.duration_units(schema) == {}
