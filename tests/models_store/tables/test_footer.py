"""Lines below the last row of a table are no rows: totals, means, notes, and sums of the columns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_store.tables import Table, read_table
from models_store.tables.dialect import FileDialect
from models_store.tables.footer import _holds_words

ROWS = 40
LINES = [f"p{row:02},{100 + row % 7}.5,{20 + row % 5},{'fm'[row % 2]}" for row in range(ROWS)]
SIZE, DOSE = sum(100.5 + row % 7 for row in range(ROWS)), sum(20 + row % 5 for row in range(ROWS))


def table(*below: str, layout: FileDialect | None = None) -> Table:
    """A table of 40 rows with some lines below them."""
    return read_table("\n".join(["id,size,dose,sex", *LINES, *below, ""]).encode(), layout)


@pytest.mark.parametrize(
    "below",
    [
        ["Total,8000,,"],
        ["TOTAL:,4120.5,878,"],
        ["Total (n=40),4120.5,878"],
        [",Summe,878,"],
        ["Mean,103,21.9,", "SD,2.0,1.4,"],
        ["Durchschnitt,103,-,"],
        ["合計,4120.5,878,"],
        ["", "Source: hospital of the town"],
        ["(40 rows affected)"],
        ["Source: hospital, 2024"],
        [",,,", "Quelle: Klinik,,,"],
        [f"All,{SIZE},{DOSE},"],
        [f",{SIZE},,"],
        ["Total,4120.5,878,", "", "Last updated: 2024-01-01"],
    ],
)
def test_lines_that_are_no_rows(below: list[str]) -> None:
    read = table(*below)
    assert read.rows == ROWS
    assert [",".join(line) for line in read.source.footer] == [line for line in below if line]
    assert "at the end" in read.report[-1]
    assert "footer_lines = 0" in read.report[-1]


@pytest.mark.parametrize(
    "below",
    [
        "p40,101.5,22,f",
        "p40,,,",
        ",,,",
        "NA,,,",
        "median,103,21,",
        f"p40,{SIZE - 1},{DOSE - 1},f",
        f"p40,104.5,{DOSE},f",
        "Total,103,21,unknown",
    ],
)
def test_a_last_row_stays_a_row(below: str) -> None:
    read = table(below)
    assert read.rows == ROWS + 1
    assert read.source.footer == []
    assert not any("at the end" in line for line in read.report)


def test_a_row_below_an_empty_one_stays_a_row() -> None:
    assert table(",,,", "ward: b,101.5,22,f").rows == ROWS + 2


def test_a_word_that_other_rows_have_is_a_label() -> None:
    read = read_table(b"kind,size\n" + b"total,1.5\nother,2.5\n" * 20 + b"total,3.5\n")
    assert read.rows == 41


def test_a_cut_last_line_is_no_note() -> None:
    with pytest.raises(Exception, match=r"row 40 .* has 1 cells, the header has 4"):
        table("p4")


@pytest.mark.parametrize(("stated", "rows"), [(0, ROWS + 1), (1, ROWS), (3, ROWS - 2)])
def test_the_number_of_lines_can_be_stated(stated: int, rows: int) -> None:
    assert table("Total,8000,,", layout=FileDialect(footer_lines=stated)).rows == rows


def test_sums_of_decimal_commas() -> None:
    rows = [f"{row % 7},5;{row % 5}" for row in range(ROWS)]
    total = f"{sum(row % 7 + 0.5 for row in range(ROWS)):.1f}".replace(".", ",")
    assert read_table("\n".join(["a;b", *rows, f"{total};"]).encode()).rows == ROWS


def test_a_line_of_a_very_long_cell_takes_no_longer_than_its_characters() -> None:
    """Quadratic time would be hours."""
    for cell in ("a" * 1_000_000, "1 " * 500_000, "a1" * 500_000):
        assert not _holds_words(cell)


@given(st.text("aé1 :\n_,"))
def test_words_have_a_letter_and_a_blank_or_colon(text: str) -> None:
    pattern = r"[^\W\d_].*[\s:]|[\s:].*[^\W\d_]"
    assert _holds_words(text) == bool(re.search(pattern, text.strip(), re.DOTALL))
