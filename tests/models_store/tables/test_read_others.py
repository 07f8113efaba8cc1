"""Lines of units, words for missing in several languages, and texts of other formats."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from models_store.errors import UnreadableFile
from models_store.tables import read_table
from models_store.tables.headers import descriptions_below
from tests.models_store.tables.test_read import ROWS, column, labels


@pytest.mark.parametrize("units", [("cm", "kg"), ("[cm]", "[kg]"), ("(cm)", "(kg)"), ("[ cm ]", "kg")])
def test_brackets_of_a_line_of_units_are_no_part_of_them(units: tuple[str, str]) -> None:
    rows = "".join(f"{150 + row / 4},{60 + row / 8}\n" for row in range(ROWS))
    table = read_table(f"height,weight\n{','.join(units)}\n{rows}".encode())
    assert [one.unit for one in table.dialect.columns] == ["cm", "kg"]
    assert table.rows == ROWS


def test_a_word_that_numbers_use_for_missing_is_named_where_it_is_a_label() -> None:
    rows = [f"{'k.A.' if row % 5 == 0 else row / 4},{['f', 'm', 'k.A.'][row % 3]}" for row in range(ROWS)]
    table = read_table("\n".join(["size,sex", *rows]).encode())
    assert table.report == (
        "'size' is a column of numbers; taken as missing: 'k.A.' (8)",
        "'sex': kept as labels: 'k.A.' (13); if they mean missing, declare them with --missing COLUMN=LABEL",
    )
    assert labels(table, "sex").count("k.A.") == 13


@pytest.mark.parametrize(
    "word", ["unbekannt", "Unknown", "UNKNOWN", "Don't know", "refused", "k. A.", "未知"]
)
def test_words_for_unknown_among_labels_are_named(word: str) -> None:
    rows = [f"{row / 4},{['f', 'm', word][row % 3]}" for row in range(ROWS)]
    table = read_table("\n".join(["size,sex", *rows]).encode())
    assert table.report == (
        f"'sex': kept as labels: '{word}' (13); if they mean missing, declare them with "
        "--missing COLUMN=LABEL",
    )


def test_words_of_several_columns_are_one_line() -> None:
    rows = [",".join([["yes", "no", "unknown"][row % 3]] * 4) for row in range(ROWS)]
    (line,) = read_table("\n".join(["a,b,c,d", *rows]).encode()).report
    assert line.startswith("'a', 'b', 'c' and 1 more: kept as labels: 'unknown' (52); if they mean")


def test_a_word_for_missing_is_one_in_any_case() -> None:
    rows = [f"{'n/a' if row % 5 == 0 else row / 4},{['f', 'N/A', 'n/a'][row % 3]}" for row in range(ROWS)]
    table = read_table("\n".join(["size,sex", *rows]).encode())
    assert labels(table, "sex")[:3] == ["f", None, None]
    assert table.report[1] == "'sex': taken as missing: 'N/A' (13), 'n/a' (13)"


@pytest.mark.parametrize("mark", ["#NV", "#WERT!", "#VALEUR!", "#N/D"])
def test_errors_of_excel_in_other_languages_are_missing(mark: str) -> None:
    rows = [f"{mark if row % 5 == 0 else row / 4},{['f', 'm', mark][row % 3]}" for row in range(ROWS)]
    table = read_table("\n".join(["size,sex", *rows]).encode())
    assert labels(table, "sex").count(None) == 13
    assert np.isnan(column(table, "size")).sum() == 8


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"% made by x\n@RELATION x\n@attribute a numeric\n@data\n1\n", "ARFF"),
        (b"<?xml version='1.0'?>\n<rows><row a='1'/></rows>", "XML"),
        (b"<!DOCTYPE html><table><tr><td>a</td></tr></table>", "HTML"),
        (b"\xef\xbb\xbf<table><tr><td>a</td></tr></table>", "HTML"),
        (b"| a | b |\n|---|---|\n| 1 | 2 |\n", "a table drawn with characters"),
        (b" a | b \n---+---\n 1 | 2\n(1 row)\n", "a table drawn with characters"),
        (b"- size: 1\n  sex: f\n- size: 2\n  sex: m\n", "YAML"),
        (b"1 1:0.5 2:0.25\n0 1:0.5\n1 2:7\n", "text in the format of LIBSVM"),
    ],
)
def test_texts_of_another_format_are_refused_by_its_name(content: bytes, name: str) -> None:
    with pytest.raises(UnreadableFile, match=f"^the table is {name}, which is not read; save it as CSV$"):
        read_table(content)


@pytest.mark.parametrize(
    "content",
    [
        b'{"data": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}',
        b'{"columns": ["a", "b"], "index": [0], "data": [[1, 2]]}',
        b'{"schema": {}, "data": [{"a": 1}]}',
        b'{"a": {"0": 1, "1": 2}, "b": {"0": 3, "1": 4}}',
        b'{"a": {' + b", ".join(b'"%d": %d' % (at, at) for at in range(1000)) + b'}, "b": {"0": 3}}',
        b"[[1, 2], [3, 4]]",
    ],
)
def test_objects_within_other_json_are_refused(content: bytes) -> None:
    with pytest.raises(UnreadableFile, match="is JSON, but not a table: write a list of objects by column"):
        read_table(content)


def test_json_in_utf_16_is_refused_by_its_name() -> None:
    with pytest.raises(UnreadableFile, match="is JSON in UTF-16; save it as UTF-8"):
        read_table('[{"a": 1}]'.encode("utf-16"))


def test_nan_in_json_is_missing() -> None:
    read = read_table(b'[{"a": 1.5, "s": "NaN"}, {"a": NaN, "s": "x"}]')
    assert np.isnan(column(read, "a")).tolist() == [False, True]


@pytest.mark.parametrize("constant", ["Infinity", "-Infinity"])
@pytest.mark.parametrize("content", ['[{{"a": NaN}}, {{"a": {}}}]', '{{"a": NaN}}\n{{"a": {}}}\n'])
def test_infinity_in_json_is_refused_with_a_remedy(content: str, constant: str) -> None:
    with pytest.raises(UnreadableFile, match=f"{constant} is no value of a table; write null"):
        read_table(content.format(constant).encode())


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            r"old Excel book \(.xls\), or one with a password",
        ),
        (b"SQLite format 3\0", "database of SQLite; export its table as CSV"),
        (b"ARROW1\0\0", "an Arrow or Feather file; save it as Parquet"),
        (
            b"$FL2@(#) IBM SPSS STATISTICS",
            r"an SPSS file \(.sav\); save it as CSV, with labels",
        ),
        (b"<stata_dta><header>", r"a Stata file \(.dta\); save it as CSV, with labels"),
        (b"\x80\x04\x95", "a pickle; save its table as Parquet"),
        (b"RDX3\nX\n", "an R file; save its table by write.csv"),
        (b"BZh91AY&SY", "compressed by bzip2; unpack it, or compress it by gzip"),
        (b"\xfd7zXZ\0\0", "compressed by xz; unpack it, or compress it by gzip"),
    ],
)
def test_binary_formats_are_refused_by_name_with_a_remedy(start: bytes, sentence: str) -> None:
    with pytest.raises(UnreadableFile, match=sentence):
        read_table(start + bytes(99))


def test_open_document_is_refused_by_name() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", "<office/>")
    with pytest.raises(UnreadableFile, match=r"is an OpenDocument file; save it as .xlsx or CSV"):
        read_table(stream.getvalue())


@pytest.mark.parametrize("header", ["ORC", "FEA1", "RDX", "$FL"])
def test_headers_like_the_start_of_other_formats_are_headers(header: str) -> None:
    rows = [f"{at},{at}.5" for at in range(9)]
    assert read_table("\n".join([f"{header},x", *rows]).encode()).dialect.headers == (header, "x")


@pytest.mark.parametrize(("empty", "rows"), [(1, 41), (2, 42), (3, 40), (400, 40)])
def test_empty_lines_at_the_end_of_a_text_of_a_sheet_are_no_rows(empty: int, rows: int) -> None:
    lines = ["a,b", *(f"{at},{at}.5" for at in range(40)), *["," for _ in range(empty)]]
    table = read_table("\n".join([*lines, ""]).encode())
    assert table.rows == rows
    assert ("empty lines at the end" in "\n".join(table.report)) == (rows == 40)


@pytest.mark.parametrize("ends", ["\r\n|\n|\r\n", "\n|\r\n|\r\n", "\r\n|\n|\n"])
def test_lines_that_end_in_different_ways(ends: str) -> None:
    """As files of two systems that were joined; a break within quotes is part of its cell."""
    header, *others = ends.split("|")
    rows = [f'{at}.5,{at % 7}.25,"f\n{at % 2}"{others[at % 2]}' for at in range(40)]
    table = read_table("".join([f"size,dose,note{header}", *rows]).encode())
    assert (table.dialect.headers, table.rows) == (("size", "dose", "note"), 40)
    (block,) = table.blocks()
    assert (block.numbers(0)[39], block.texts(2)[39]) == (39.5, "f\n1")


def test_lines_that_all_have_another_number_of_cells_describe_no_column() -> None:
    assert descriptions_below([["a", "b"], ["height", "weight"], ["1"], ["2"], ["3"], ["4"]]) == ()


@pytest.mark.parametrize("years", [["1990", "1991", "1992"], ["1950", "1975", "2000", "2025"]])
@pytest.mark.parametrize("names", [["country", "code"], ["country"], []])
def test_years_above_other_numbers_name_the_columns(years: list[str], names: list[str]) -> None:
    rows = [
        [*(f"{name} {row}" for name in names), *(f"{row}.{at}" for at in range(len(years)))]
        for row in range(30)
    ]
    lines = [",".join(cells) for cells in [[*names, *years], *rows]]
    table = read_table("\n".join(lines).encode())
    assert table.dialect.headers == (*names, *years)
    assert table.rows == 30


def test_years_above_years_are_a_row() -> None:
    rows = [f"n{row},{1950 + row},{1980 + row},{2010 + row}" for row in range(30)]
    table = read_table("\n".join(rows).encode())
    assert not table.dialect.has_header
    assert table.rows == 30
