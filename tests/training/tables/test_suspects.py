"""Numbers that may mean missing, or be typos, are named by ``init`` and decide no kind."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from tests.training.tables.tables import modalities, names_of_columns, write
from training.tables import opening
from training.tables.ends import ENDS, Ends
from training.tables.guess import guess
from training.tables.marks import marks_of

N = 300
RNG = np.random.default_rng(0)
OTHER = RNG.normal(size=N).round(3)


def lines_on(path: Path, values: Iterable[Any], name: str = "x") -> list[str]:
    """What `init` writes under "to check" on a column beside another one, but for whole numbers as labels."""
    cells = list(values)
    table = write(path / "t.csv", {name: cells, "y": OTHER[: len(cells)]})
    text = guess([table], path / "e.toml").text
    lines = [line.removeprefix("#   ") for line in text.partition("# to check:\n")[2].splitlines()]
    return [line for line in lines if "are learned as labels" not in line]


def with_some(values: Any, code: float, times: int) -> list[float]:
    """Numbers, of which some are replaced by a code."""
    return [code if row < times else float(value) for row, value in enumerate(values)]


@given(st.lists(st.lists(st.sampled_from([*range(12), np.nan]), min_size=2, max_size=2), max_size=60))
def test_ends_are_those_of_all_numbers_counted_at_once(rows: list[list[float]]) -> None:
    cells = np.array(rows, float).reshape(-1, 2)
    ends = Ends(2)
    for start in range(0, len(cells), 7):
        ends.see(cells[start : start + 7], start)

    for column in (0, 1):
        numbers = cells[:, column]
        different, first, times = np.unique(numbers, return_index=True, return_counts=True)
        expected = [one for one in zip(different, times, first, strict=True) if not np.isnan(one[0])]
        assert ends.of_column(column) == (expected[:ENDS], expected[::-1][:ENDS])


# --- codes -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "others"),
    [
        ("-99", range(-20, 40)),
        ("999", range(100, 160)),
        ("9999", range(0, 3000, 50)),
        ("-9", range(1, 6)),
        ("88", range(1, 6)),
        ("-1", range(18, 78)),
        ("-999.0", range(60)),
    ],
)
def test_codes_far_outside_the_other_numbers_are_named(tmp_path: Path, code: str, others: range) -> None:
    plain = [others[row * 7 % len(others)] for row in range(57)]

    (line,) = lines_on(tmp_path, [*plain, *[code] * 3])

    value = f"{float(code):g}"
    assert line == (
        f"{value} lies apart from the other numbers of 'x' (3); if it means missing, run init with "
        f"--missing x={value}"
    )


@pytest.mark.parametrize(
    ("code", "values", "times"),
    [
        pytest.param(99.9, RNG.normal(36.8, 0.4, N).round(1), 18, id="temperature"),
        pytest.param(0, RNG.normal(70, 10, N).round(), 9, id="blood pressure"),
        pytest.param(0, RNG.normal(29, 8, N).clip(7).round(), 30, id="skin thickness"),
        pytest.param(0, np.exp(RNG.normal(4.8, 0.5, N)).round(), 120, id="insulin"),
        pytest.param(9, RNG.choice([0, 1], N), 30, id="smoking"),
        pytest.param(9, RNG.choice([1, 2, 3, 4], N), 30, id="education"),
    ],
)
def test_usual_codes_for_missing_values_are_named(
    tmp_path: Path, code: float, values: Any, times: int
) -> None:
    (line,) = lines_on(tmp_path, with_some(values, code, times))
    assert line.startswith(f"{code} lies apart from the other numbers of 'x' ({times})")
    assert line.endswith(f"--missing x={code}")


def test_several_codes_of_labels_are_named(tmp_path: Path) -> None:
    lines = lines_on(tmp_path, [[1, 2, 3, 4, 5, 8, 9][row % 7] for row in range(70)])
    assert [line.split()[0] for line in lines] == ["8", "9"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([*range(18, 100)] * 3, id="ages"),
        pytest.param([-1, 0, 1] * 60, id="signs"),
        pytest.param([0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 9, id="digits"),
        pytest.param([1, 2, 3, 4, 5, 6, 7] * 9, id="seven answers"),
        pytest.param([3, 4, 5, 6, 8] * 9, id="cylinders"),
        pytest.param([1, 3, 5, 7, 9] * 9, id="odd numbers"),
        pytest.param([0] * 200 + [1] * 60 + [2] * 15 + [3] * 8 + [4] * 6 + [5] * 4 + [8] * 3, id="siblings"),
        pytest.param(RNG.poisson(5, N), id="counts"),
        pytest.param(np.abs(RNG.normal(0, 9, N)).round(1), id="distances"),
        pytest.param(np.where(RNG.random(N) < 0.3, 0, np.exp(RNG.normal(0, 2, N)).round(3)), id="amounts"),
        pytest.param(np.where(RNG.random(N) < 0.7, 0, RNG.integers(1, 40, N)), id="cigarettes"),
        pytest.param(RNG.normal(0, 1, N).round(1), id="scores"),
        pytest.param(RNG.normal(10, 5, N).clip(0).round(1), id="discounts"),
        pytest.param(RNG.integers(0, 20, N) * 5, id="steps of five"),
        pytest.param(np.exp(RNG.normal(0, 2, N)).round(4), id="long tail"),
        pytest.param(RNG.pareto(1, N).round(4), id="longest tail"),
        pytest.param(RNG.standard_t(3, N).round(4), id="heavy tails"),
    ],
)
def test_ordinary_numbers_are_not_named(tmp_path: Path, values: Sequence[float]) -> None:
    assert lines_on(tmp_path, values[:N]) == []


def test_one_code_of_several_columns_is_one_line(tmp_path: Path) -> None:
    cells = [-999 if row % 9 == 0 else float(value) for row, value in enumerate(OTHER + 50)]
    table = write(tmp_path / "t.csv", {name: [*cells[at:], *cells[:at]] for at, name in enumerate("abcde")})

    text = guess([table], tmp_path / "e.toml").text

    assert (
        "-999 lies apart from the other numbers of 'a' (34), 'b' (34), 'c' (34) and 2 more columns; if it "
        "means missing, run init with --missing a=-999 --missing b=-999 --missing c=-999 …" in text
    )


def test_the_option_that_is_named_declares_the_code(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", {"x (cm)": with_some(RNG.normal(170, 9, N), 999, 9), "y": OTHER})
    assert "--missing 'x (cm)=999'" in guess([table], tmp_path / "e.toml").text

    declared = guess([table], tmp_path / "e.toml", marks=marks_of(["x (cm)=999"])).text

    assert "to check" not in declared
    assert tomllib.loads(declared)["data"]["missing_by_column"] == {"x (cm)": ["999"]}


@pytest.mark.parametrize("large", [False, True])
def test_codes_of_parquet_are_named(tmp_path: Path, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        monkeypatch.setattr(opening, "LARGE_PARQUET", 0)
    values = pa.array(with_some(RNG.normal(70, 10, N), -999, 5))
    parquet.write_table(pa.table({"x": values, "y": OTHER}), tmp_path / "t.parquet")

    text = guess([tmp_path / "t.parquet"], tmp_path / "e.toml").text

    assert "-999 lies apart from the other numbers of 'x' (5)" in text


# --- typos -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("typo", "values"),
    [
        pytest.param(-1e7, RNG.normal(7, 0.3, N).round(2), id="acidity"),
        pytest.param(98765, RNG.normal(20, 3, N).round(1), id="temperature"),
        pytest.param(1725, RNG.normal(170, 8, N).round(1), id="height"),
        pytest.param(1.72, RNG.normal(170, 8, N).round(1), id="another unit"),
        pytest.param(7350, RNG.normal(70, 10, N).round(1), id="weight"),
        pytest.param(1e6, np.where(RNG.random(N) < 0.4, 0, np.exp(RNG.normal(0, 1, N))), id="amount"),
        pytest.param(1e5, RNG.normal(0, 1, N).round(3), id="score"),
        pytest.param(999, RNG.normal(70, 10, N).round(), id="a single code"),
    ],
)
def test_a_number_far_from_all_others_may_be_a_typo(tmp_path: Path, typo: float, values: Any) -> None:
    cells = [typo if row == 11 else value for row, value in enumerate(values)]

    (line,) = lines_on(tmp_path, cells)

    assert line.startswith(f"'x': {typo:.10g} in row 11 (counted from 0) may be a typo, ")
    assert "interquartile ranges from the median" in line
    assert line.endswith(f"correct it, or use --missing x={typo:.10g}")


def test_typos_at_both_ends_are_one_line_and_two_near_each_other_are_both_named(tmp_path: Path) -> None:
    cells = dict(enumerate(RNG.normal(170, 8, N).round(1))) | {3: 1725, 40: 1680, 41: 1680, 5: -170}
    (line,) = lines_on(tmp_path, cells.values())
    assert "-170 in row 5, 1725 in row 3, 1680 in 2 cells from row 40 (counted from 0)" in line


def test_the_row_is_that_of_the_file_in_any_block(tmp_path: Path) -> None:
    values = RNG.normal(70, 10, 300_000).round(2)
    values[299_000] = 1e9
    parquet.write_table(
        pa.table({"x": values, **{f"y{at}": values for at in range(9)}}), tmp_path / "t.parquet"
    )
    text = guess([tmp_path / "t.parquet"], tmp_path / "e.toml").text
    assert "'x': 1000000000 in row 299000 (counted from 0)" in text


# --- kinds -----------------------------------------------------------------


@pytest.mark.parametrize("typo", [1e5, -1e7, 300.0])
def test_one_cell_does_not_decide_on_a_log_scale(tmp_path: Path, typo: float) -> None:
    plain, tailed = RNG.normal(70, 10, N).round(2), np.exp(RNG.normal(2, 1, N)).round(4)
    views = modalities(
        write(tmp_path / "t.csv", {"plain": [typo, *plain[1:]], "tail": tailed, "y": OTHER})
    ).values()
    assert {view["likelihood"]: names_of_columns(view) for view in views} == {
        "normal": ["plain", "y"],
        "log_normal": ["tail"],
    }


def test_numbers_from_one_to_ten_are_labels_beside_a_code(tmp_path: Path) -> None:
    cells = with_some(RNG.integers(1, 11, N), 99, 15)
    view = modalities(write(tmp_path / "t.csv", {"x": [int(cell) for cell in cells], "y": OTHER}))["x"]
    assert (view["kind"], view["labels"]) == ("category", [*map(str, range(1, 11)), "99"])


def test_zeros_that_may_mean_missing_make_no_counts(tmp_path: Path) -> None:
    cells = [int(cell) for cell in with_some(np.exp(RNG.normal(4.8, 0.5, N)), 0, 100)]
    views = modalities(write(tmp_path / "t.csv", {"insulin": cells, "y": OTHER}))
    assert {name: (view["kind"], names_of_columns(view)) for name, view in views.items()} == {
        "t": ("vector", ["insulin", "y"])
    }


def test_the_family_of_counts_is_chosen_without_codes(tmp_path: Path) -> None:
    counts = RNG.poisson(4, N)
    cells = [999 if row % 20 == 0 else int(count) for row, count in enumerate(counts)]
    view = modalities(write(tmp_path / "t.csv", {"n": cells, "y": OTHER}))["t_counts"]
    assert view["likelihood"] == "poisson"


def test_a_sorted_table_is_judged_by_rows_of_all_parts(tmp_path: Path) -> None:
    values = np.sort(np.exp(RNG.normal(2, 1, 10_000)))
    parquet.write_table(pa.table({"x": values[RNG.permutation(10_000)], "z": values}), tmp_path / "t.parquet")
    (view,) = modalities(tmp_path / "t.parquet").values()
    assert (view["likelihood"], names_of_columns(view)) == ("log_normal", ["x", "z"])
