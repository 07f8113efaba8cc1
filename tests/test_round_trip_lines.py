"""Tables come back with their odd lines: row names without a header, fixed widths, lines below the rows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.round_trip import cells, check_law, csv_text, publish_for
from tests.test_round_trip import ROWS, columns, law
from training.tables.guess import guess


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("delimiter", [",", " ", "\t"])
def test_row_names_without_a_header(delimiter: str) -> None:
    """``write.table`` of R writes one header fewer than columns."""
    header, *rows = csv_text(
        dict(zip("abc", columns(mark="NA").values(), strict=True)), delimiter
    ).splitlines()
    law("\n".join([header, *(f'"{at}"{delimiter}{row}' for at, row in enumerate(rows, 1)), ""]).encode())
    assert Path("filled-x.csv").read_text().splitlines()[0].startswith(f"a{delimiter}b{delimiter}c")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_columns_of_a_fixed_width(encoding: str) -> None:
    table = [list(map(str, row)) for row in zip(*columns(mark="NA").values(), strict=True)]
    lines = [["height", "weight", "sex"], *([a, b, c or "NA"] for a, b, c in table)]
    law("".join("".join(f"{cell:>9}" for cell in line) + "\n" for line in lines).encode(encoding))


def test_a_delimiter_at_the_end_of_each_row() -> None:
    header, *rows = csv_text(columns()).splitlines()
    law("\n".join([header, *(f"{row}," for row in rows), ""]).encode())


@pytest.mark.parametrize(
    "below", ["Total,8000,70,", "Mean:,100.5,,\nSD,9.9,,", "\nSource: hospital, 2024", "{sum},,"]
)
def test_lines_below_the_rows_come_back(below: str) -> None:
    table = columns() | {"size": cells(np.random.default_rng(1), ROWS)}
    table = {"size": table.pop("size"), **table}
    below = below.format(sum=round(sum(map(float, table["size"])), 2))
    law((csv_text(table) + below + "\n").encode())
    filled = Path("filled-x.csv").read_text().splitlines()
    lines = list(filter(None, below.splitlines()))
    assert len(filled) == 1 + ROWS + len(lines)
    for line, after in zip(lines, filled[-len(lines) :], strict=True):
        assert after.startswith(line)
        assert not after.removeprefix(line).strip(",")


@pytest.mark.parametrize("name", ["x.csv", "x.xlsx"])
def test_two_lines_of_names(name: str) -> None:
    """The second repeats names, and both come back; a further column stands in the first."""
    numbers = [*columns().values()][:2] * 2
    lines = [["before", "", "after", ""], ["mean", "sd"] * 2, *map(list, zip(*numbers, strict=True))]
    lines[9] = [""] * 4
    if name == "x.xlsx":
        book = pytest.importorskip("openpyxl").Workbook()
        for line in lines:
            book.active.append([float(cell) if cell[:1].isdigit() else cell or None for cell in line])
        book.save(name)
        check_law(publish_for(Path.cwd(), [Path(name)]), Path(name))
    else:
        law("\n".join([*map(",".join, lines), ""]).encode())
        groups, names = Path("filled-x.csv").read_text().splitlines()[:2]
        assert groups.startswith("before,,after,,before mean.low,")
        assert names.rstrip(",") == "mean,sd,mean,sd"


def test_the_lines_of_an_excel_sheet_come_back() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book, table = openpyxl.Workbook(), columns()
    book.active.append(["no table"])
    sheet = book.create_sheet("Rows")
    for line in (["body", None, "person"], ["height", "weight", "sex"], ["cm", "kg", None]):
        sheet.append(line)
    for height, weight, sex in zip(*table.values(), strict=True):
        sheet.append([float(height) if height else None, float(weight) if weight else None, sex])
    for below in (["Total", 8000.5], [], ["Source: hospital"]):
        sheet.append(below)
    book.save("x.xlsx")
    law(Path("x.xlsx").read_bytes(), "x.xlsx")
    lines = [line[:3] for line in openpyxl.load_workbook("filled-x.xlsx")["Rows"].values]
    assert lines[:3] == [("body", None, "person"), ("height", "weight", "sex"), ("cm", "kg", None)]
    assert lines[ROWS + 3 :] == [
        ("Total", 8000.5, None),
        (None, None, None),
        ("Source: hospital", None, None),
    ]


def test_backslashes_before_quotes() -> None:
    """Spark and MySQL write ``\\"`` for a quote in quotes; MySQL writes ``\\N`` for a missing value."""
    notes = ['"said \\"no\\", then \\"yes\\""', '"5\'10\\""', "C:\\x", "\\N"]
    table = [list(map(str, row)) for row in zip(*columns(mark="\\N").values(), strict=True)]
    lines = [f"{','.join(row)},{notes[at % 4]}" for at, row in enumerate(table)]
    law("\n".join(["height,weight,sex,said", *lines, ""]).encode())
    filled = Path("filled-x.csv").read_text().splitlines()
    after = [line.split(",", 3)[3].rsplit(",", 6)[0] for line in filled[1:5]]
    assert after[:3] == notes[:3]
    assert after[3] in notes[:3]


QUESTIONS = ["How tall, in cm?", "How heavy?", "Sex"]


@pytest.mark.parametrize(
    "below",
    [
        [QUESTIONS],
        [QUESTIONS, ['{"ImportId":"QID1"}', '{"ImportId":"QID2"}', '{"ImportId":"QID3"}']],
    ],
)
def test_lines_below_the_header_that_describe_columns(below: list[list[str]]) -> None:
    """Qualtrics and other survey programs write questions and identifiers there."""
    table = columns(mark="")
    cells = [list(map(str, column)) for column in zip(*below, strict=True)]
    rows = {name: [*above, *column] for (name, column), above in zip(table.items(), cells, strict=True)}
    law(csv_text(rows).encode())
    filled = csv_rows(Path("filled-x.csv"))
    assert [line[:3] for line in filled[1 : 1 + len(below)]] == below
    assert len(filled) == 1 + len(below) + ROWS


def test_a_header_in_a_comment() -> None:
    """NumPy and instruments write the names of columns behind a number sign."""
    law(("# made by x\n#" + csv_text(columns(mark="nan"))).encode())
    assert Path("filled-x.csv").read_text().splitlines()[1].startswith("#height [cm],weight,Sex,")


def test_lines_that_repeat_the_header_are_left_out() -> None:
    text = csv_text(columns())
    law((text + text).encode())
    assert len(csv_rows(Path("filled-x.csv"))) == 1 + 2 * ROWS
    report = "\n".join(guess([Path("x.csv")], Path("x.toml")).report)
    assert "1 line is left out: equal to the header" in report


def csv_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))
