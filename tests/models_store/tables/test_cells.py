"""Single cells and headers of a table of text."""

from __future__ import annotations

import pytest

from models_store.tables.cells import number
from models_store.tables.names import unit_of

MANY = 2_000_000
"""A run of characters that a pattern whose time grows with its square would look at for hours."""


@pytest.mark.parametrize(
    ("cell", "decimal", "expected"),
    [
        ("1", ".", 1.0),
        ("-1.", ".", -1.0),
        (".5", ".", 0.5),
        ("1.5e-3", ".", 0.0015),
        ("1,5", ",", 1.5),
        ("1,", ",", 1.0),
        (",5", ",", 0.5),
        ("1.234,5", ",", 1234.5),
        ("1,234.5", ".", 1234.5),
        ("1,23,45,678.5", ".", 12345678.5),
        ("1,23,4", ".", None),
        ("1.5D+03", ".", 1500.0),
        ("1,5d-3", ",", 0.0015),
        ("5D3", ".", None),
        ("−１２.5", ".", -12.5),
        ("١٢٣٫٥", ".", 123.5),
        ("²", ".", None),
        ("1.2.3", ".", None),
        (".", ".", None),
        ("1e", ".", None),
    ],
)
def test_a_number_in_either_notation(cell: str, decimal: str, expected: float | None) -> None:
    assert number(cell, decimal) == expected


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("end", ["x", ".x", ",x", "e", "..", ",,"])
def test_a_long_run_of_digits_takes_time_in_proportion(decimal: str, end: str) -> None:
    assert number("1" * MANY + end, decimal) is None


@pytest.mark.parametrize("mark", ["(", "[", "( ", "x(", ")("])
def test_a_long_run_of_brackets_has_no_unit(mark: str) -> None:
    header = mark * MANY
    assert unit_of(header) == (header, None)
