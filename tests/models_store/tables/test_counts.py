"""Numbers of a column are counted in one call; the counts are those of its cells one by one."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from models_store.tables.cells import number
from models_store.tables.counts import ColumnSurvey

CELLS = ("1", "0", "+7", "-9", "999", "1.5", "-0.25", "1.234", "0.123", "1234.567", "12.3456", "5.", ".5")
ODD = (
    "",
    None,
    "NA",
    "n/a",
    "--",
    ".",
    "#N/A",
    " 1",
    "1\n",
    "1\n2",
    "1_0",
    "1e5",
    "1.2.3",
    "5-3",
    "inf",
    "９",
    "x",
)
LONG = "9" * 400


@given(st.lists(st.sampled_from(CELLS)), st.lists(st.sampled_from(ODD), max_size=2))
@example(["1.234", "792"], [])
@example([LONG, "-" + LONG], [])
@example([f"{value / 7:.3f}" for value in range(150)], [None, ""])
def test_numbers_are_counted_at_once_as_one_by_one(plain: list[str], odd: list[str | None]) -> None:
    cells = [*plain, *odd]
    at_once, one_by_one = ColumnSurvey(), ColumnSurvey()

    at_once.see(cells, ())
    one_by_one.see(cells, ["a mark that no cell has"])

    assert at_once == one_by_one


def test_a_number_that_begins_with_zero_has_no_thousands() -> None:
    assert (number("0.143", ","), number("0,143"), number("1.143", ",")) == (None, None, 1143)
