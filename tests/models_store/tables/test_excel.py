"""Excel books as people keep them: several sheets, groups of columns, units, formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import pytest

from models_store.tables import Table, read_table

openpyxl = pytest.importorskip("openpyxl")
ROWS = [[100 + row % 7 + 0.5, 20 + row % 5, "fm"[row % 2]] for row in range(20)]
HEADER = ["size", "dose", "sex"]


def read(sheets: Mapping[str, Sequence[Sequence[Any]]], *merged: str) -> Table:
    """The table in a book of these sheets; ranges of the last sheet are merged."""
    book, stream = openpyxl.Workbook(), BytesIO()
    book.remove(book.active)
    for title, lines in sheets.items():
        sheet = book.create_sheet(title)
        for line in lines:
            sheet.append(line)
    for cells in merged:
        book.worksheets[-1].merge_cells(cells)
    book.save(stream)
    return read_table(stream.getvalue())


@pytest.mark.parametrize(
    "sheets",
    [
        {"Data": [HEADER, *ROWS], "Legend": [["code", "text"], [1, "one"]]},
        {"Read me": [["see the next sheet"], ["made by hand"]], "Data": [HEADER, *ROWS]},
        {"Empty": [], "Data": [["Report"], [], HEADER, *ROWS]},
    ],
)
def test_the_first_sheet_with_a_table_is_read_and_the_others_are_named(
    sheets: Mapping[str, Sequence[Sequence[Any]]],
) -> None:
    table = read(sheets)
    (other,) = set(sheets) - {"Data"}
    assert (list(table.dialect.headers), table.rows) == (HEADER, len(ROWS))
    assert table.report == (f"the table is in the sheet 'Data'; not read: '{other}'",)


def test_formulas_without_results_are_named() -> None:
    table = read({"Data": [["size", "dose", "both"], *([a, b, "=A2+B2"] for a, b, _ in ROWS)]})
    assert table.report[-1].startswith(
        "'both': taken as missing: formulas without their results; open the book"
    )


def test_cells_that_are_merged_over_rows_are_named() -> None:
    lines: list[list[Any]] = [["Report", None, None], HEADER, *ROWS]
    table = read({"Data": lines}, "A1:C1", "C3:C9", "B10:B11", "A12:B12")
    assert table.rows == len(ROWS)
    assert table.report[-1].startswith("'dose' and 'sex': cells are merged over rows: all but the first")
    assert read({"Data": lines}, "A1:C1").report == ()


def test_a_line_of_units_below_the_header() -> None:
    table = read({"Data": [HEADER, ["cm", "mg/l", None], *ROWS]})
    assert [column.unit for column in table.dialect.columns] == ["cm", "mg/l", None]
    assert table.rows == len(ROWS)
    assert table.report == ()


def test_names_below_groups_of_columns() -> None:
    table = read({"Data": [["body", None, "person"], HEADER, *ROWS]})
    assert (list(table.dialect.headers), table.rows) == (HEADER, len(ROWS))


def test_names_below_groups_of_columns_in_text() -> None:
    lines = ["body,,person", ",".join(HEADER), *(",".join(map(str, row)) for row in ROWS), ""]
    table = read_table("\n".join(lines).encode())
    assert (list(table.dialect.headers), table.rows) == (HEADER, len(ROWS))
    index = [
        ",".join(["", *HEADER]),
        *(f"r{at},{','.join(map(str, row))}" for at, row in enumerate(ROWS)),
        "",
    ]
    assert list(read_table("\n".join(index).encode()).dialect.headers) == ["", *HEADER]


GROUPED = [
    (["id", "before", None, "after", None, "sex"], [None, "mean", "sd", "mean", "sd", None]),
    (["id", "before", "before", "after", "after", "sex"], ["", "mean", "sd", "mean", "sd", ""]),
]
GROUPED_HEADER = ["id", "before mean", "before sd", "after mean", "after sd", "sex"]
GROUPED_ROWS = [[f"p{row}", *(row % 7 + at + 0.5 for at in range(4)), "fm"[row % 2]] for row in range(20)]


@pytest.mark.parametrize("above", [[], [["Report"], []]])
@pytest.mark.parametrize("lines", GROUPED)
def test_names_that_repeat_are_known_by_their_group(
    above: Sequence[Sequence[Any]], lines: Sequence[Sequence[Any]]
) -> None:
    sheet = [*above, *lines, *GROUPED_ROWS]
    text = "\n".join(",".join("" if cell is None else str(cell) for cell in line) for line in sheet)
    for table in (read({"Data": sheet}), read_table(f"{text}\n".encode())):
        assert (list(table.dialect.headers), table.rows) == (GROUPED_HEADER, 20)
        (block,) = table.blocks()
        assert block.numbers(3)[:2].tolist() == [2.5, 3.5]


@pytest.mark.parametrize("below", [[], ["id,,,,,"], [",,,,,"]])
def test_headers_of_several_levels_that_pandas_writes(below: list[str]) -> None:
    lines = [",before,before,after,after,sex", ",mean,sd,mean,sd,"]
    rows = [f"{at},{','.join(map(str, row[1:]))}" for at, row in enumerate(GROUPED_ROWS)]
    table = read_table("\n".join([*lines, *below, *rows, ""]).encode())
    assert (list(table.dialect.headers), table.rows) == (["", *GROUPED_HEADER[1:]], 20)


def test_empty_lines_below_the_table_are_no_rows() -> None:
    """Formatted cells leave them, by the hundred."""
    table = read({"Data": [HEADER, *ROWS, *[[None, None, None]] * 400, [None, " ", None]]})
    assert table.rows == len(ROWS)
    assert table.report == ("401 empty lines at the end of the sheet or text left out",)


def test_a_column_of_numbers_and_texts_with_commas_is_text() -> None:
    """``1.125`` beside the text ``1,5`` was read as 1125."""
    lines = [[f"{at},5" if at % 2 else at + 0.125, at / 4] for at in range(40)]
    table = read({"Data": [["size", "x"], *lines]})
    assert [column.content for column in table.dialect.columns] == ["text", "number"]
