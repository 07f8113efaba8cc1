"""`init` reads tables of every format, and says what it took as missing and what it left out."""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.training.tables.tables import write
from training.errors import DataError, ExperimentError
from training.tables.guess import experiment_for, guess
from training.tables.report import MOST_LINES

ROWS = 40
HEIGHTS = [150.5 + 0.7 * (row * 37 % 40) for row in range(ROWS)]


def text_of(path: Path) -> str:
    return experiment_for([path], path.with_suffix(".toml"))


def test_cells_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    cells = ["." if row % 10 == 0 else f"{height}" for row, height in enumerate(HEIGHTS)]
    (tmp_path / "x.csv").write_text(
        "\n".join(["height,sex", *(f"{cell},{'mf'[i % 2]}" for i, cell in enumerate(cells))])
    )
    text = text_of(tmp_path / "x.csv")
    assert "# how cells were read:" in text
    assert "taken as missing: '.'" in text
    assert text.count('kind = "category"') == 1  # the sex; a height is no category of its cells


@pytest.mark.parametrize(
    ("column", "expected"),
    {
        "booleans": (pa.array([True, False, None, True] * (ROWS // 4)), 'kind = "category"'),
        "half precision": (pa.array(HEIGHTS).cast(pa.float16()), 'name = "odd"'),
        "lists of one length": (pa.array([[1.0, 2.0, 3.0 + i] for i in range(ROWS)]), 'kind = "vector"'),
        "structs": (pa.array([{"a": i} for i in range(ROWS)]), "'odd' is left out"),
        "blobs": (pa.array([b"\xff\xfe" * i for i in range(ROWS)]), "'odd' is left out"),
        "maps": (
            pa.array([[("a", i)] for i in range(ROWS)], pa.map_(pa.string(), pa.int64())),
            "'odd' is left out",
        ),
    }.values(),
    ids=["booleans", "half precision", "lists of one length", "structs", "blobs", "maps"],
)
def test_parquet_columns_of_every_type_are_read_or_left_out_with_a_reason(
    tmp_path: Path, column: pa.Array, expected: str
) -> None:
    parquet.write_table(pa.table({"height": HEIGHTS, "odd": column}), tmp_path / "x.parquet")
    text = text_of(tmp_path / "x.parquet")
    assert 'name = "height"' in text
    assert expected in text


def test_infinity_in_parquet_is_refused_with_the_column(tmp_path: Path) -> None:
    odd = [float("inf"), *HEIGHTS[1:]]
    parquet.write_table(pa.table({"height": HEIGHTS, "odd": odd}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="'odd': numbers must be finite within float32, got an infinity"):
        text_of(tmp_path / "x.parquet")


def test_files_in_an_archive_that_are_no_arrays_are_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", height=np.array(HEIGHTS))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("README.txt", "about these data")
    text = text_of(tmp_path / "x.npz")
    assert 'name = "height"' in text
    assert "'README.txt' is left out: it is no array" in text


def test_an_archive_without_arrays_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("table.csv", "a,b")
    with pytest.raises(DataError, match=r"holds no arrays.*unpack"):
        text_of(tmp_path / "x.zip")


def test_two_columns_of_one_name_are_refused_in_one_sentence(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(HEIGHTS), pa.array(HEIGHTS)], ["height", "height"])
    parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises((DataError, ExperimentError), match="height"):
        text_of(tmp_path / "x.parquet")


def report_of(*paths: Path) -> list[str]:
    return list(guess(list(paths), Path("x.toml")).report)


def test_the_report_counts_rows_views_gaps_and_columns_that_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    height, weight = rng.normal(170, 9, 60).round(1), rng.normal(70, 12, 60).round(1)
    columns: dict[str, Any] = {
        "id": [f"p{row}" for row in range(60)],
        "height_cm": height,
        "weight": ["-" if row % 6 == 0 else cell for row, cell in enumerate(weight)],
        "inches": (height / 2.54).round(3),
        "health": [["Poor", "Fair", "Good", "Excellent"][row % 4] for row in range(60)],
        "days": [999 if row % 10 == 0 else row % 8 for row in range(60)],
        "site": ["here"] * 60,
        "bilirubin": np.exp(rng.normal(0.5, 1.0, 60)).round(3),
    }
    lines = report_of(write(tmp_path / "x.csv", columns))
    for line in (
        "x.csv: 60 rows, 8 columns",
        "4 views:",
        "  'weight' is a column of numbers; taken as missing: '-' (10)",
        "  'id': all its 60 values differ: it identifies the rows",
        "  'site': always 'here'",
        "  'inches' rises or falls with 'height_cm' in every row, as another unit would",
        "  the labels of 'health' have the order Poor, Fair, Good, Excellent",
        "rows: 48 to train, 6 to choose the best epoch, 6 to measure; too few to trust: figures that "
        "rest on 6 rows say little",
    ):
        assert line in lines
    text = "\n".join(lines)
    assert (
        "x: vector; 3 columns of x.csv; 6% of the cells are empty: 'height', 'weight', 'inches'\n"
        "  x_log: vector; 1 column of x.csv on a log scale, for their long tails; 0% of the cells are empty: "
        "'bilirubin'" in text
    )
    assert "10 of 480 cells, in 1 column, most in 'weight' 17%" in text
    assert (
        "999 lies apart from the other numbers of 'days' (6); if it means missing, run init with --missing "
        "days=999" in text
    )
    assert "on a log scale, for their long tails" in text
    assert lines[-1].startswith("fit: about ")


def test_the_report_has_at_most_40_lines_and_drops_nothing_without_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for number in range(9):
        columns: dict[str, Any] = {"id": [f"p{row}" for row in range(60)]}
        for at in range(15):
            columns[f"v{number}_{at}"] = rng.normal(size=60).round(3)
            columns[f"c{number}_{at}"] = [["Poor", "Fair", "Good"][row % 3] for row in range(60)]
            columns[f"k{number}_{at}"] = [f"{number}{at}"] * 60
            columns[f"t{number}_{at}"] = [f"text {row}" for row in range(60)]
            columns[f"m{number}_{at}"] = ["-" if row % 9 == 0 else f"{row / 7:.2f}" for row in range(60)]
        paths.append(write(tmp_path / f"f{number}.csv", columns))
    first = guess(paths, Path("x.toml"))
    assert len(first.report) <= MOST_LINES - 1  # one more says what was written
    assert max(map(len, first.report)) <= 160
    for title in ("views:", "taken as missing:", "left out:", "to check:"):
        assert sum(line.endswith(title) for line in first.report) == 1
    assert sum("more, see the comments in x.toml" in line for line in first.report) >= 4
    for number in range(9):
        for at in range(15):
            assert f"#   k{number}_{at}: always " in first.text
            assert f"#   t{number}_{at}: all its 60 values differ" in first.text
            assert f"'m{number}_{at}' is a column of numbers; taken as missing: '-' (7)" in first.text


@pytest.mark.parametrize(("others", "shared"), [(range(60), 60), (range(25, 85), 35), (range(59, 119), 1)])
def test_the_report_counts_the_cases_that_each_pair_of_files_shares(
    tmp_path: Path, others: range, shared: int
) -> None:
    first = write(tmp_path / "a.csv", {"id": range(60), "x": np.arange(60) ** 0.5})
    second = write(tmp_path / "b.csv", {"id": others, "y": np.arange(60) ** 0.7})
    cases = len({*range(60), *others})
    assert f"joined by 'id': a.csv and b.csv share {shared} of {cases} cases" in report_of(first, second)


def test_rows_that_match_no_other_file_are_named(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", {"id": [f"p{row}" for row in range(60)], "x": np.arange(60) ** 0.5})
    second = write(tmp_path / "b.csv", {"id": [f"p{row}" for row in range(7, 61)], "y": np.arange(54) ** 0.7})
    lines = report_of(first, second)
    assert (
        "a.csv: 7 rows of it in no other file, with the 'id' 'p0', 'p1', 'p2', 'p3', 'p4' and 2 more" in lines
    )
    assert "b.csv: 1 row of it in no other file, with the 'id' 'p60'" in lines


def test_a_key_that_the_user_names_joins_the_files(tmp_path: Path) -> None:
    """Where two columns could join the files, the one that is named does."""
    order = np.random.default_rng(0).permutation(60)
    first = write(tmp_path / "a.csv", {"id": range(60), "code": order, "x": np.arange(60) ** 0.5})
    second = write(tmp_path / "b.csv", {"Code": order[::-1], "id": range(60), "y": np.arange(60) ** 0.7})
    by_id, by_code = guess([first, second], Path("x.toml")), guess([first, second], Path("x.toml"), "code")
    assert tomllib.loads(by_id.text)["data"]["key"] == "id"
    assert tomllib.loads(by_code.text)["data"]["key"] == "code"
    assert "joined by 'code': a.csv and b.csv share 60 of 60 cases" in by_code.report
    with pytest.raises(
        ExperimentError, match=r"data\.key: .* has no column 'name', it has 'id', 'code', 'x'"
    ):
        guess([first, second], Path("x.toml"), "name")


def test_files_without_a_key_are_joined_by_position_with_a_line(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", {"x": np.arange(60) ** 0.5})
    second = write(tmp_path / "b.csv", {"y": np.arange(60) ** 0.7})
    (line,) = [line for line in report_of(first, second) if "joined row by row" in line]
    assert (
        line
        == "joined row by row, since no column identifies the cases of all: a.csv, b.csv; check their order"
    )
