"""A table that is read and written again is the same: headers, order, marks, and every cell."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from models_store.tables import Plan, dialect_for, read_table, table_writer

WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1
).filter(lambda word: word[0] != "'")
"""Words that are not in single quotes, which may stand around cells."""


def rewritten(content: bytes | Path, folder: Path, name: str = "copy") -> bytes:
    table = read_table(content)
    target = folder / name
    with table_writer(target, Plan(table.source, dialect_for(name, table.dialect))) as writer:
        for block in table.blocks(rows=5):
            for row in block.rows:
                writer.append(row, {}, [])
    return target.read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(
        st.tuples(st.none() | st.floats(-1e6, 1e6), st.none() | st.sampled_from("abc"), WORDS),
        min_size=12,
        max_size=30,
    ),
    delimiter=st.sampled_from(",;\t|"),
    comma=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    mark=st.sampled_from(["", "NA", "."]),
)  # fmt: skip
def test_round_trip(
    tmp_path: Path,
    values: list[tuple[float | None, str | None, str]],
    delimiter: str,
    comma: bool,
    line_end: str,
    encoding: str,
    mark: str,
) -> None:
    assume(values[0][0] is not None)  # ``,,A`` above zeros alone is a line of units
    decimal = "," if comma and delimiter != "," else "."
    spelled = [
        (mark if number is None else f"{number:.2f}".replace(".", decimal), label or "", word)
        for number, label, word in values
    ]
    assume(any(spelled[-1][:2]))  # one text alone below the rows is a note
    first = tmp_path / "first.csv"
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end)
    writer.writerows([("size_cm", "kind", "note"), *spelled])
    first.write_bytes(text.getvalue().encode(encoding))

    table = read_table(first)

    assert table.dialect.headers == ("size_cm", "kind", "note")
    assert [tuple(row) for block in table.blocks() for row in block.rows] == spelled
    assert rewritten(first, tmp_path) == first.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b'sep=;\n"a";"b"\n"1,5";"x"\n"2,5";""\n',
        b"# note\na,b\n1.50,x\n,y\n",
        b"Title,,\n,,\na,b,c\n1,2,x\n3,4,y\n",
        b"a,b\ncm,\n1,x\n2,y\n3,z\n",
        b'{"a":1.5,"b":"1.5"}\n{"a":null,"b":"x"}\n',
    ],
)
def test_what_stands_around_the_cells_stays(content: bytes, tmp_path: Path) -> None:
    assert rewritten(content, tmp_path) == content


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    path, copy = tmp_path / "t.parquet", tmp_path / "copy"
    duckdb.connect().execute(
        f"COPY (SELECT i::TINYINT AS \"a [cm]\", i / 3 AS b, 'x' || i AS c, [i, 1.5]::FLOAT[] AS d, "  # noqa: S608
        f"CASE WHEN i > 3 THEN DATE '2024-01-01' END AS e FROM range(9) t(i)) TO '{path}' (FORMAT parquet)"
    )
    rewritten(path, tmp_path)

    before, after = (duckdb.connect().from_parquet(str(p)) for p in (path, copy))
    assert (before.columns, before.types) == (after.columns, after.types)
    assert before.fetchall() == after.fetchall()


def test_excel_keeps_its_cells(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    path, copy = tmp_path / "t.xlsx", tmp_path / "copy.xlsx"
    book = openpyxl.Workbook()
    rows = [["a", "b"], *[[at + 0.5, "xy"[at % 2]] for at in range(20)]]
    for row in rows:
        book.active.append(row)
    book.save(path)
    copy.write_bytes(rewritten(path, tmp_path))

    sheet = openpyxl.load_workbook(copy).active
    assert [list(row) for row in sheet.iter_rows(values_only=True)] == rows
