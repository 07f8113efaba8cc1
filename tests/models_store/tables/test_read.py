"""Tables as people write them are read as they meant them, or refused in one sentence."""

from __future__ import annotations

import gzip
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import zstandard

from models_store.errors import InputRefused, UnreadableFile, WrongValue
from models_store.tables import Dialect, Table, read_table

ROWS = 40


def column(table: Table, header: str) -> list[float]:
    at = table.column(header)
    return [float(value) for block in table.blocks(rows=7) for value in block.numbers(at)]


def labels(table: Table, header: str) -> list[str | None]:
    at = table.column(header)
    return [text for block in table.blocks(rows=7) for text in block.texts(at)]


def text_of(
    delimiter: str = ",", decimal: str = ".", before: str = "", header: str = "height,note,sex"
) -> str:
    rows = [
        delimiter.join([f"{150 + at / 4}".replace(".", decimal), f"n{at}", "fm"[at % 2]])
        for at in range(ROWS)
    ]
    return before + "\n".join([header.replace(",", delimiter), *rows]) + "\n"


HEIGHTS = [150 + at / 4 for at in range(ROWS)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(text_of().encode(), id="commas"),
        pytest.param(text_of(";", ",").encode(), id="semicolons and decimal commas"),
        pytest.param(text_of("\t", ",").encode(), id="tabs and decimal commas"),
        pytest.param(text_of("|").encode(), id="bars"),
        pytest.param(text_of(" ").encode(), id="blanks"),
        pytest.param(text_of(";", before="sep=;\n").encode(), id="sep line"),
        pytest.param(text_of(before="Report of the clinic,,\n,,\n").encode(), id="title lines"),
        pytest.param(text_of(before="Report of the clinic\n\n").encode(), id="a title without delimiters"),
        pytest.param(
            text_of(";", ",", before="Clinic, 2024\n\n").encode(), id="a title with another delimiter"
        ),
        pytest.param(text_of("\t", before="Report of the clinic\n").encode(), id="a title above tabs"),
        pytest.param(text_of("|", before="Made on\nMonday\n").encode(), id="two titles"),
        pytest.param(text_of(before="# exported by device 7\n").encode(), id="comment"),
        pytest.param(text_of().replace("n1", "Köln").encode("cp1252"), id="Windows-1252"),
        pytest.param(text_of().encode("utf-16"), id="UTF-16"),
        pytest.param(text_of().encode("utf-8-sig"), id="UTF-8 with a mark"),
        pytest.param(text_of().replace("\n", "\r\n").encode(), id="Windows lines"),
        pytest.param(gzip.compress(text_of().encode()), id="gzip"),
        pytest.param(zstandard.compress(text_of().encode()), id="zstd"),
        pytest.param(text_of().replace("n3", '"two\nlines, one cell"').encode(), id="line break in quotes"),
    ],
)
def test_one_table_in_many_dialects(content: bytes) -> None:
    table = read_table(content)

    assert table.dialect.headers == ("height", "note", "sex")
    assert column(table, "height") == HEIGHTS
    assert labels(table, "sex") == ["f", "m"] * (ROWS // 2)
    assert Dialect.model_validate_json(table.dialect.model_dump_json()) == table.dialect


@pytest.mark.parametrize(
    "mark", [".", "-", "--", "<NA>", "#DIV/0!", "#NULL!", "n.a.", "nil", "missing", "<0.5", "-1.#IND", "None"]
)
def test_a_mark_in_a_column_of_numbers_is_missing_and_reported(mark: str) -> None:
    text = text_of().replace("150.25,", f"{mark},").replace("151.0,", f"{mark},")

    table = read_table(text.encode())

    assert [at for at, value in enumerate(column(table, "height")) if np.isnan(value)] == [1, 4]
    assert table.report == (f"'height' is a column of numbers; taken as missing: '{mark}' (2)",)


def test_blank_cells_are_missing_without_a_word() -> None:
    table = read_table(text_of().replace("150.25,", " ,").encode())

    assert np.isnan(column(table, "height")[1])
    assert table.report == ()


@pytest.mark.parametrize("word", ["NA", "None", "null", "nan", "?"])
def test_a_word_that_may_be_a_label_is_one(word: str) -> None:
    table = read_table(text_of().replace(",f\n", f",{word}\n").encode())

    assert labels(table, "sex") == [word, "m"] * (ROWS // 2)
    assert table.report == (
        f"'sex': kept as labels: '{word}' ({ROWS // 2}); if they mean missing, declare them with "
        "--missing COLUMN=LABEL",
    )


def test_a_word_that_columns_of_numbers_use_for_missing_is_missing_in_text_too() -> None:
    table = read_table(text_of().replace("150.25,", "NA,").replace(",f\n", ",NA\n").encode())

    assert labels(table, "sex") == [None, "m"] * (ROWS // 2)
    assert table.report[1] == f"'sex': taken as missing: 'NA' ({ROWS // 2})"


def test_a_number_can_be_named_missing() -> None:
    text = text_of()
    for value in ("150.25,", "150.5,", "150.75,"):
        text = text.replace(value, "-999,")

    for table in (
        read_table(text.encode(), missing=["-999"]),
        read_table(text.encode(), missing_by_column={"height": ["-999"]}),
    ):
        assert np.isnan(column(table, "height")).sum() == 3
        assert table.report == ("'height': 3 cells hold a mark that missing names",)


def test_a_dot_groups_thousands_in_a_file_of_decimal_commas() -> None:
    lines = [f"{150 + at},5;{9 + at}.189;1.{200 + at},56" for at in range(ROWS)]
    table = read_table("\n".join(["height;people;salary", *lines]).encode())

    assert column(table, "people") == [9189 + 1000 * at for at in range(ROWS)]
    assert column(table, "salary") == [1200.56 + at for at in range(ROWS)]


def test_a_line_of_units_is_no_row() -> None:
    table = read_table(text_of().replace("sex\n", "sex\ncm,,\n", 1).encode())

    assert table.dialect.columns[0].unit == "cm"
    assert column(table, "height") == HEIGHTS


@pytest.mark.parametrize(
    "titles",
    [
        [["Report of the clinic"]],
        [["Report", "Ward 3"], []],
        [["Clinic", None, None, None, "2024"], ["Ward", "3", "north"], []],
        [[None, "a wide title"], [None, None, None, None, None, "printed on Monday"]],
    ],
)
def test_an_excel_sheet_begins_below_its_titles(tmp_path: Path, titles: list[list[Any]]) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    rows = [[at + 0.5, "xy"[at % 2], None if at % 3 else at, at / 4, at * 2] for at in range(30)]
    for line in [*titles, ["a", "b", "c", "d", "e"], *rows]:
        book.active.append(line)
    book.save(tmp_path / "t.xlsx")

    table = read_table(tmp_path / "t.xlsx")

    assert table.dialect.headers == ("a", "b", "c", "d", "e")
    assert table.rows == 30
    assert column(table, "a") == [at + 0.5 for at in range(30)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "note", ["line of row {}\n", "one, two; three {}\n", "a|b\tc|d {}\r\n", "\n\n{},{},{},{}\n"]
)
def test_many_lines_in_quotes_are_one_cell(delimiter: str, note: str) -> None:
    """The delimiter is that of the table also where most lines of the file are text in quotes."""
    rows = [
        delimiter.join([f"{row % 9 + 0.5}", '"' + note.format(*[row] * 4) * 50 + '"', f"{row % 7}.5"])
        for row in range(ROWS)
    ]

    table = read_table("\n".join([delimiter.join(["a", "note", "b"]), *rows, ""]).encode())

    assert table.dialect.headers == ("a", "note", "b")
    assert column(table, "a") == [row % 9 + 0.5 for row in range(ROWS)]
    assert column(table, "b") == [row % 7 + 0.5 for row in range(ROWS)]


@pytest.mark.parametrize("delimiter", ["^", "~", ":"])
def test_seldom_delimiters_are_found_where_no_other_is(delimiter: str) -> None:
    table = read_table(text_of(delimiter).encode())
    assert table.dialect.headers == ("height", "note", "sex")
    assert column(table, "height") == HEIGHTS


@pytest.mark.parametrize("cell", ["12:30", "a~b", "x^2"])
def test_a_column_of_text_is_not_cut_at_a_seldom_delimiter(cell: str) -> None:
    assert read_table("\n".join(["time", *[cell] * 9]).encode()).dialect.headers == ("time",)


def test_lists_by_column_on_one_line_are_a_table() -> None:
    table = read_table(b'{"a": [1.5, 2.5, 3.5], "b": ["x", "y", "x"]}')
    assert (column(table, "a"), labels(table, "b")) == ([1.5, 2.5, 3.5], ["x", "y", "x"])


def test_a_first_row_of_digits_is_no_line_of_units() -> None:
    text = "\n".join(["delta,sex", *(f"({row}.5),f" if row % 9 == 0 else f"{row}.5,m" for row in range(40))])
    assert read_table(text.encode()).rows == 40


def test_a_table_without_a_header_loses_no_row() -> None:
    table = read_table(text_of().partition("\n")[2].encode())

    assert not table.dialect.has_header
    assert column(table, "column 1") == HEIGHTS


def test_units_that_would_make_two_names_equal_keep_their_headers() -> None:
    table = read_table(b"height_cm,height_m,temp [K],temp [C]\n1,2,3,4\n5,6,7,8\n")

    assert [c.name for c in table.dialect.columns] == ["height_cm", "height_m", "temp [K]", "temp [C]"]


def test_labels_beside_few_numbers_stay_labels() -> None:
    table = read_table(
        ("n,x\n" + "".join(f"{['0', '1', '2', '3+'][at % 4]},{at}\n" for at in range(40))).encode()
    )

    assert table.dialect.columns[0].content == "text"


@pytest.mark.parametrize(
    ("kind", "values", "content"),
    [
        ("BOOLEAN", "i % 2 = 0", "text"),
        ("DOUBLE", "CASE WHEN i = 3 THEN 'inf'::DOUBLE ELSE i + 0.5 END", "number"),
        ("HUGEINT", "i * 100000000000000000000::HUGEINT", "number"),
        ("DECIMAL(9, 2)", "i + 0.25", "number"),
        ("DATE", "DATE '2024-01-01' + i::INTEGER", "text"),
        ("FLOAT[]", "[i, i + 1, i + 2]", "vector"),
        ("DOUBLE[]", "range(i % 3)", "unread"),
        ("STRUCT(a INTEGER)", "{'a': i}", "unread"),
        ("MAP(VARCHAR, INTEGER)", "map {'a': i}", "unread"),
        ("BLOB", "'\\xFF'::BLOB", "unread"),
        ("INTEGER", "NULL", "text"),
    ],
)
def test_parquet_of_any_type_is_read_or_left_out_with_a_reason(
    tmp_path: Path, kind: str, values: str, content: str
) -> None:
    path = tmp_path / "t.parquet"
    duckdb.connect().execute(
        f"COPY (SELECT i AS row, ({values})::{kind} AS it FROM range(20) t(i)) TO '{path}' (FORMAT parquet)"  # noqa: S608
    )

    table = read_table(path)

    assert table.dialect.columns[1].content == content
    assert bool(table.report) == (content == "unread" or "inf" in values)
    assert table.rows == 20
    if content == "vector":
        assert next(table.blocks()).numbers(1)[4].tolist() == [4, 5, 6]


def test_objects_are_rows() -> None:
    for content in (b'[{"a": 1, "b": "x"}, {"b": "y"}]', b'{"a": 1, "b": "x"}\n{"b": "y"}\n'):
        table = read_table(content)
        assert labels(table, "b") == ["x", "y"]
        assert np.isnan(column(table, "a")[1])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"a,a\n1,2\n", "the header has 'a' more than once"),
        (b"a,b\n1,2\n1,2,3\n", r"row 1 \(counted from 0\) has 3 cells, the header has 2"),
        (b"PK\x03\x04nothing", "damaged archive"),
        (b"PAR1nothing", "cannot be read as Parquet"),
        (b"\x1f\x8bnothing", "damaged gzip"),
        (b'{"a": ', "damaged JSON"),
        (b"[1, 2]", "."),
        (b"\xd0\xcf\x11\xe0", "old Excel book"),
    ],
)
def test_refusals_are_one_sentence(content: bytes, sentence: str) -> None:
    if content == b"[1, 2]":
        assert read_table(content).rows == 0
        return
    with pytest.raises((UnreadableFile, WrongValue), match=sentence) as caught:
        read_table(content)
    assert "\n" not in str(caught.value)


def test_ten_thousand_columns() -> None:
    header = ",".join(f"g{at}" for at in range(10_000))
    table = read_table("\n".join([header, *[",".join(["1.25"] * 10_000)] * 3]).encode())

    assert len(table.dialect.columns) == 10_000
    assert {c.content for c in table.dialect.columns} == {"number"}


@pytest.mark.parametrize("seed", range(60))
def test_damaged_tables_are_read_or_refused(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    path = tmp_path / "t.parquet"
    duckdb.connect().execute(f"COPY (SELECT i, i / 2 AS x FROM range(50) t(i)) TO '{path}' (FORMAT parquet)")  # noqa: S608
    texts = [text_of(";", ",").encode(), text_of().encode("utf-16"), b'[{"a": 1, "b": "x"}, {"b": "y"}]']
    whole = draw.choice([*texts, gzip.compress(texts[0]), path.read_bytes()])
    content = bytearray(whole)
    for _ in range(draw.randint(1, 8)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    cut = bytes(content[: draw.randint(1, len(content))])

    with suppress(InputRefused):
        for block in read_table(cut).blocks():
            block.texts(0)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (['"say \\"a, b\\" now"', '"5\'10\\""'], ['say "a, b" now', "5'10\""]),
        (['"a ""b"" c"', '"d"'], ['a "b" c', "d"]),
        (['"C:\\dir\\"', '"D:\\x\\"'], ["C:\\dir\\", "D:\\x\\"]),
        (["C:\\x", '"y \\"z\\""'], ["C:\\x", 'y "z"']),
        (['"a\\\\"', '"b \\"c\\""'], ["a\\\\", 'b "c"']),
        (["\\N", "b"], [None, "b"]),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_backslashes(cells: list[str], expected: list[str | None], delimiter: str) -> None:
    rows = [delimiter.join([f"{at}", cells[at % 2], f"{at}.5"]) for at in range(ROWS)]
    table = read_table("\n".join([delimiter.join(["a", "text", "b"]), *rows]).encode())
    assert labels(table, "text") == [expected[at % 2] for at in range(ROWS)]
    assert column(table, "b") == [at + 0.5 for at in range(ROWS)]


@pytest.mark.parametrize(
    "below",
    [
        ["mean height, in cm", "note", "sex"],
        ["-", "note", "sex"],
        ["150", "note", "sex"],
        ["", "note", "sex"],
    ],
)
def test_a_line_of_words_above_one_column_of_numbers_is_a_row(below: list[str]) -> None:
    header, *rows = text_of(";").splitlines()
    table = read_table("\n".join([header, ";".join(below), *rows]).encode())
    assert table.rows == ROWS + 1
    assert table.dialect.descriptions == ()


def test_the_last_character_of_ms_dos_is_no_row() -> None:
    assert column(read_table((text_of() + "\x1a").encode()), "height") == HEIGHTS
