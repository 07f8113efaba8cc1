"""Numbers with a unit or a currency in each cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from models_store.tables import read_table
from models_store.tables.affixes import split_affixes


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("5 kg", ("", "5", " kg")),
        ("-5kg", ("", "-5", "kg")),
        ("−3.5 °C", ("", "−3.5", " °C")),
        ("3.4 mg/dl", ("", "3.4", " mg/dl")),
        ("12 ml/min/1.73m²", ("", "12", " ml/min/1.73m²")),
        ("4.5 10^9/L", ("", "4.5", " 10^9/L")),
        ("4.5 x10^9/L", ("", "4.5", " x10^9/L")),
        ("1 200 fl oz", ("", "1 200", " fl oz")),
        ("$1,200", ("$", "1,200", "")),
        ("-$1,200.50", ("$", "-1,200.50", "")),
        ("1.234,5 €", ("", "1.234,5", " €")),
        ("USD 5", ("USD ", "5", "")),
        ("5 USD", ("", "5", " USD")),
        ("R$ 5", ("R$ ", "5", "")),
        ("1.2k", ("", "1.2", "k")),
        ("5e3 m", ("", "5e3", " m")),
    ],
)
def test_a_number_and_its_unit(cell: str, expected: tuple[str, str, str]) -> None:
    assert split_affixes(cell) == expected


@pytest.mark.parametrize(
    "cell",
    [
        "5",
        "5.",
        "5 %",
        "",
        "kg",
        "001A",
        "EMP 5",
        "12:30",
        "2020-01-01",
        "1/2",
        "5-6 kg",
        "3+",
        "<5 kg",
        "12 Jan 2020",
    ],
)
def test_other_cells_are_no_number_with_a_unit(cell: str) -> None:
    assert split_affixes(cell) is None


def table(cells: Sequence[str], header: str = "x") -> bytes:
    return "\n".join([f"{header};y", *(f"{cell};1.5" for cell in cells)]).encode()


@pytest.mark.parametrize(
    ("form", "decimal", "unit"),
    [
        ("{} kg", ".", "kg"),
        ("{}kg", ".", "kg"),
        ("${}", ".", "$"),
        ("{} €", ",", "€"),
        ("{} °C", ",", "°C"),
        ("{} кг", ".", "кг"),
        ("{}公斤", ".", "公斤"),
    ],
)
def test_numbers_with_one_unit_are_numbers(form: str, decimal: str, unit: str) -> None:
    numbers = [-2.5 + 1.5 * row for row in range(20)]
    cells = [form.format(str(number).replace(".", decimal)) for number in numbers]
    read = read_table(table([*cells, "", "NA"]))
    column = read.dialect.columns[0]
    assert (column.content, column.unit, column.decimal) == ("number", unit, decimal)
    (block,) = read.blocks()
    np.testing.assert_array_equal(block.numbers(0), [*numbers, np.nan, np.nan])
    assert [float(text or "nan") for text in block.texts(0)[:20]] == numbers


def test_spellings_of_one_unit_may_differ_in_blanks() -> None:
    (block,) = read_table(table([f"{row} kg" if row % 3 else f"{row}kg" for row in range(20)])).blocks()
    np.testing.assert_array_equal(block.numbers(0), np.arange(20))


def test_thousands_in_prices() -> None:
    read = read_table(table([f"${1000 + 37 * row:,}.00" for row in range(30)]))
    assert read.dialect.columns[0].thousands == ","
    np.testing.assert_array_equal(next(read.blocks()).numbers(0), 1000 + 37 * np.arange(30))


@pytest.mark.parametrize(
    ("cells", "units"),
    [
        ([f"{row} {'kg' if row % 2 else 'lb'}" for row in range(40)], "'lb' (21), 'kg' (20)"),
        ([f"{row}00" if row % 2 else f"{row}k" for row in range(40)], "'k' (21) and 20 numbers without one"),
        ([f"{row} {'mg' if row % 4 else 'Mg'}" for row in range(40)], "'mg' (30), 'Mg' (11)"),
    ],
)
def test_mixed_units_stay_text_with_a_line(cells: list[str], units: str) -> None:
    read = read_table(table([*cells, cells[0]]))
    assert read.dialect.columns[0].content == "text"
    (line,) = read.report
    assert line.startswith(f"'x' has numbers with the units {units}; write one unit in each cell, or in none")


def test_few_doses_are_labels() -> None:
    read = read_table(table([f"{5 * (row % 4)} mg" for row in range(40)]))
    assert read.dialect.columns[0].content == "text"
    assert read.report == ()


def test_a_few_words_among_numbers_with_a_unit_are_missing() -> None:
    read = read_table(table(["unknown" if row % 9 == 5 else f"{row} kg" for row in range(300)]))
    assert read.dialect.columns[0].content == "number"
    assert read.report == ("'x' is a column of numbers; taken as missing: 'unknown' (33)",)


def test_the_unit_of_the_cells_stands_before_that_of_the_header() -> None:
    column = read_table(table([f"{row} g" for row in range(20)], "weight [kg]")).dialect.columns[0]
    assert (column.name, column.unit) == ("weight", "g")
