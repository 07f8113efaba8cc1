"""Codes, bounds and percent signs among the numbers of a text."""

from __future__ import annotations

import pytest

from models_store.tables import read_table
from models_store.tables.dialect import FileDialect
from tests.models_store.tables.test_read import ROWS, column, labels


@pytest.mark.parametrize("rest", ["501", "0501"])
def test_numbers_of_one_length_with_leading_zeros_are_codes(rest: str) -> None:
    cells = [f"{at % 10}{rest}" for at in range(ROWS)]
    table = read_table(
        "\n".join(["zip,x", *(f"{cell},{at}.5" for at, cell in enumerate(cells)), ""]).encode()
    )
    assert labels(table, "zip") == cells
    assert "'zip' has numbers with leading zeros, such as 0" in "\n".join(table.report)


def test_the_example_of_a_leading_zero_has_one() -> None:
    cells = [f"{ROWS - at:02d}" for at in range(ROWS)]
    table = read_table("\n".join(["zip,x", *(f"{cell},{at}.5" for at, cell in enumerate(cells))]).encode())
    assert "'zip' has numbers with leading zeros, such as 09: read as codes, text" in table.report


@pytest.mark.parametrize("cells", [["0", "1"], ["0.5", "0.7"], ["007", "12"], ["10", "20"], ["-05", "005"]])
def test_other_numbers_are_no_codes(cells: list[str]) -> None:
    table = read_table("\n".join(["x,y", *(f"{cells[at % 2]},{at}.5" for at in range(ROWS)), ""]).encode())
    assert column(table, "x") == [float(cells[at % 2]) for at in range(ROWS)]


def test_a_column_of_measures_and_bounds_is_one_of_numbers() -> None:
    cells = [f"{at}.5" if at % 3 else "<0.5" if at % 2 else ">100" for at in range(ROWS)]
    table = read_table("\n".join(["crp,y", *(f"{cell},{at}" for at, cell in enumerate(cells)), ""]).encode())
    values = column(table, "crp")
    assert [value for value in values if value == value] == [at + 0.5 for at in range(ROWS) if at % 3]


def test_percent_signs_on_some_numbers_are_named() -> None:
    rows = [f"{at}%,{at}" if at % 4 else f"{at / 100},{at}" for at in range(ROWS)]
    (line,) = read_table("\n".join(["share,y", *rows, ""]).encode()).report
    assert line.startswith("'share' has 30 numbers with a percent sign, 10 without one; all are read alike")


def test_words_for_missing_in_the_first_row_are_no_units() -> None:
    rows = ["missing,unknown,f", *(f"{at}.5,{at},m" for at in range(ROWS))]
    table = read_table("\n".join(["height,weight,sex", *rows, ""]).encode())
    assert (table.rows, table.dialect.units) == (ROWS + 1, ())
    assert "'height' is a column of numbers; taken as missing: 'missing' (1)" in table.report


def test_na_among_codes_is_missing() -> None:
    rows = [f"{'NA' if at % 5 == 0 else f'{at % 9:03d}'},{at}.5" for at in range(ROWS)]
    table = read_table("\n".join(["icd,x", *rows, ""]).encode())
    assert labels(table, "icd")[:2] == [None, "001"]


def test_a_comment_above_columns_in_blanks_is_no_header() -> None:
    table = read_table("\n".join(["# h w", *(f"{at}.5 {at}" for at in range(ROWS)), ""]).encode())
    assert (table.rows, table.dialect.headers) == (ROWS, ("column 1", "column 2"))


def groups(delimiter: str, cells: list[str], others: list[str]) -> bytes:
    rows = [delimiter.join(row) for row in zip(cells, others, strict=True)]
    return "\n".join([delimiter.join(["km", "y"]), *rows, ""]).encode()


KILOMETRES = [f"{17 + at}.{at * 37 % 1000:03d}" for at in range(ROWS)]
WHOLE = [str(at) for at in range(ROWS)]


def test_points_before_three_digits_set_off_thousands_where_semicolons_delimit() -> None:
    table = read_table(groups(";", KILOMETRES, WHOLE))
    assert column(table, "km") == [float(cell.replace(".", "")) for cell in KILOMETRES]
    assert (table.dialect.columns[0].decimal, table.dialect.columns[0].thousands) == (",", ".")
    assert table.report == (
        "'km': 17.000 is read as 17000; if '.' is the decimal mark, set decimal = \".\" in [data.dialects]",
    )


def test_the_decimal_mark_that_the_user_states_is_not_doubted() -> None:
    table = read_table(groups(";", KILOMETRES, WHOLE), FileDialect(decimal="."))
    assert column(table, "km") == [float(cell) for cell in KILOMETRES]
    assert table.report == ()


@pytest.mark.parametrize("delimiter", ["\t", "|"])
def test_points_before_three_digits_are_doubted_elsewhere(delimiter: str) -> None:
    table = read_table(groups(delimiter, KILOMETRES, WHOLE))
    assert column(table, "km") == [float(cell) for cell in KILOMETRES]
    assert table.report == (
        "'km': 17.000 is read as 17; if '.' sets off thousands, set decimal = \",\" in [data.dialects]",
    )


def test_commas_before_three_digits_are_doubted_where_semicolons_delimit() -> None:
    table = read_table(groups(";", [cell.replace(".", ",") for cell in KILOMETRES], WHOLE))
    assert column(table, "km") == [float(cell.replace(".", "")) for cell in KILOMETRES]
    assert table.report == (
        "'km': 17,000 is read as 17000; if ',' is the decimal mark, set decimal = \",\" in [data.dialects]",
    )


@pytest.mark.parametrize(
    ("delimiter", "others"),
    [
        pytest.param(",", WHOLE, id="commas delimit"),
        pytest.param(";", [f"{at}.5" for at in range(ROWS)], id="a column with decimal points"),
        pytest.param(";", [f"0.{at:03d}" for at in range(ROWS)], id="a leading zero"),
    ],
)
def test_points_are_decimal_marks_where_nothing_speaks_against_it(delimiter: str, others: list[str]) -> None:
    table = read_table(groups(delimiter, KILOMETRES, others))
    assert column(table, "km") == [float(cell) for cell in KILOMETRES]
    assert table.report == ()
