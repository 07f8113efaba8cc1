"""A second table below the first one is refused by its line; what only looks like one is not."""

from __future__ import annotations

from typing import Any

import pytest

from models_store.errors import UnreadableFile
from models_store.tables import read_table
from models_store.tables.dialect import FileDialect
from tests.models_store.tables.test_excel import HEADER, ROWS, read

FIRST = ["size,dose,sex", *(",".join(map(str, row)) for row in ROWS)]
SECOND = ["site,visits,nurse", "north,12,Ann", "south,9,Bo"]
LINE = len(FIRST) + 2


@pytest.mark.parametrize("empty", ["", ",,"])
@pytest.mark.parametrize("second", [SECOND, [line.rpartition(",")[0] for line in SECOND]])
def test_a_second_table_in_a_text(empty: str, second: list[str]) -> None:
    content = "\n".join([*FIRST, empty, *second, ""]).encode()
    with pytest.raises(UnreadableFile, match=f"line {LINE} begins a second table, with the names 'site'"):
        read_table(content)
    assert read_table(content, FileDialect(footer_lines=3 + bool(empty))).rows == len(ROWS)


def test_the_number_of_a_line_counts_breaks_in_cells_and_titles() -> None:
    first = [*FIRST, '1,2,"f\nm"']
    content = "\n".join(["Report", *first, "", *SECOND, ""]).encode()
    with pytest.raises(UnreadableFile, match=f"line {LINE + 3} begins"):
        read_table(content)


def test_a_second_table_in_a_sheet() -> None:
    sheet: list[list[Any]] = [HEADER, *ROWS, [None] * 3, ["site", "visits"], ["north", 12], ["south", 9]]
    with pytest.raises(
        UnreadableFile, match=f"line {LINE} begins a second table, with the names 'site' and 'visits'; save"
    ):
        read({"Data": sheet})


@pytest.mark.parametrize(
    "below",
    [["1.5,2,f"], ["size,dose,sex", "1.5,2,f"], ["Mean,3.5,"], ["unknown,unknown,f"], [",,m", "NA,NA,f"]],
)
def test_other_lines_below_an_empty_one_begin_no_table(below: list[str]) -> None:
    assert read_table("\n".join([*FIRST, "", *below, *FIRST[1:], ""]).encode()).rows >= 2 * len(ROWS)
