"""Every table that `init` accepts comes back from `impute` and `text/csv` as it was, its gaps filled."""

from __future__ import annotations

import csv
import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tests.round_trip import cells, check_law, csv_text, needs_shared, publish_for, with_gaps
from training.data import HOME
from training.errors import TrainingError

ROWS = 60
ROOT = Path(__file__).parent


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def law(content: bytes, name: str = "x.csv") -> None:
    """The law, for a model of one file."""
    Path(name).write_bytes(content)
    check_law(publish_for(Path.cwd(), [Path(name)]), Path(name))


def columns(seed: int = 0, decimal: str = ".", mark: str = "") -> dict[str, list[str]]:
    """Two columns of numbers and one of labels, with gaps."""
    rng = np.random.default_rng(seed)
    return {
        "height [cm]": with_gaps(rng, cells(rng, ROWS, decimal), mark),
        "weight": with_gaps(rng, cells(rng, ROWS, decimal), mark),
        "Sex": with_gaps(rng, [str(label) for label in rng.choice(["f", "m"], ROWS)]),
    }


# --- real tables ------------------------------------------------------------------------------------


def test_patients() -> None:
    law((ROOT / "data" / "patients.csv").read_bytes())


@needs_shared
def test_pbc() -> None:
    law((HOME / "pbc" / "pbc.csv").read_bytes())


@needs_shared
@pytest.mark.timeout(300)
def test_each_of_the_four_tables_of_breast() -> None:
    files = [HOME / "breast" / f"breast_{part}.csv" for part in ("mrna", "mirna", "protein", "clinical")]
    copies = [Path(file.name) for file in files]
    for file, copy in zip(files, copies, strict=True):
        lines = [line.split(",") for line in file.read_text().splitlines()]
        for row, line in enumerate(lines[1:]):  # a gap in every second row but the first column
            line[1 + row % (len(line) - 1)] = (
                "" if row % 2 and len(line) > 2 else line[1 + row % (len(line) - 1)]
            )
        copy.write_text("\n".join(map(",".join, lines)) + "\n")
    store = publish_for(Path.cwd(), copies)
    for copy in copies:
        check_law(store, copy)


IRIS = ["Sepal.Length", "Sepal.Width", "Petal.Length", "Petal.Width"]


def iris(quoting: int = csv.QUOTE_MINIMAL, row_names: bool = False) -> bytes:
    """Four measures and a species, as R writes them."""
    rng = np.random.default_rng(1)
    table = {"": [str(row + 1) for row in range(ROWS)]} if row_names else {}
    table |= {name: with_gaps(rng, cells(rng, ROWS, digits=1), "NA") for name in IRIS}
    table["Species"] = [f"{name}" for name in rng.choice(["setosa", "versicolor", "virginica"], ROWS)]
    return csv_text(table, quoting=quoting).encode()


@pytest.mark.parametrize("row_names", [False, True])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_tables_that_r_writes(quoting: int, row_names: bool) -> None:
    law(iris(quoting, row_names))


# --- headers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Bcl.3",
        "Health",
        "height [cm]",
        "Größe (cm)",
        "性別",
        "prior",
        "a,b",
        "a;b",
        "14-3-3_epsilon",
        "x.y.z",
        "all",
        " spaced ",
        "7",
        'the "quoted"',
        "Cafe\u0301",
        "weight.low",
    ],
)
def test_any_header(header: str) -> None:
    table = columns()
    renamed = {header if name == "weight" else name: column for name, column in table.items()}
    law(csv_text(renamed).encode())
    labelled = {header if name == "Sex" else name: column for name, column in table.items()}
    Path("store").rename("other")
    law(csv_text(labelled).encode())


def test_a_header_that_names_another_column_of_the_model() -> None:
    """`body.x` is the header of one column and the full name of another."""
    rng = np.random.default_rng(0)
    table = {name: cells(rng, ROWS) for name in ("body.x", "body.y", "x", "size")}
    table["body.x"][3] = table["x"][5] = ""
    law(csv_text(table).encode())


def test_a_table_without_a_header() -> None:
    table = columns() | {"size": cells(np.random.default_rng(1), ROWS)}  # every row has something
    law("".join(",".join(row) + "\n" for row in zip(*table.values(), strict=True)).encode())


def test_a_line_of_units() -> None:
    table = {"height": ["cm", *columns()["weight"]], "mass": ["kg", *columns(1)["weight"]]}
    law(csv_text(table | {"sex": ["", *columns()["Sex"]]}).encode())


def test_columns_that_the_model_does_not_have_are_copied() -> None:
    table = columns()
    table["case"] = [f"c{row:03d}" for row in range(ROWS)]
    table["seen on"] = [f"2024-0{1 + row % 9}-1{row % 9}" for row in range(ROWS)]
    table["note"] = [f"a, b\n{row}" for row in range(ROWS)]
    table["always"] = ["1"] * ROWS
    law(csv_text(table).encode())


# --- cells ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["", "NA", "null", "?", "#N/A", ".", "-", "n.a.", "missing", "<0.5"])
def test_any_mark_for_missing(mark: str) -> None:
    law(csv_text(columns(mark=mark)).encode())


@pytest.mark.parametrize(
    "column",
    [
        pytest.param([["true", "false", ""][row % 3] for row in range(ROWS)], id="booleans"),
        pytest.param([["TRUE", "FALSE", "NA"][row % 3] for row in range(ROWS)], id="booleans of R"),
        pytest.param([f"{row * 7 % 50 / 2}%" if row % 5 else "" for row in range(ROWS)], id="percentages"),
        pytest.param(
            [f"{row * 37 % 50},{row:03d}.5" if row % 5 else "" for row in range(ROWS)], id="thousands"
        ),
        pytest.param([str(row % 4 + 1) if row % 7 else "" for row in range(ROWS)], id="labels 1 to 4"),
        pytest.param([f"{row % 4 + 1}.0" if row % 7 else "" for row in range(ROWS)], id="labels 1.0 to 4.0"),
        pytest.param([["0.0", "0.5", "1.0", ""][row % 4] for row in range(ROWS)], id="labels of halves"),
        pytest.param([["None", "mild", "severe"][row % 3] for row in range(ROWS)], id="the label None"),
        pytest.param([["poor", "fair", "good", ""][row % 4] for row in range(ROWS)], id="ordered words"),
        pytest.param([str(row * row % 13) if row % 5 else "" for row in range(ROWS)], id="counts"),
        pytest.param([f"{row * 37 % 50} kg" if row % 5 else "" for row in range(ROWS)], id="units"),
        pytest.param(
            [f"${row * 37 % 50},{row:03d}.50" if row % 5 else "NA" for row in range(ROWS)], id="currency"
        ),
        pytest.param([f"{row % 4 * 5} mg" if row % 5 else "" for row in range(ROWS)], id="doses"),
        pytest.param([f"{row * 37 % 50}e-3" if row % 5 else "" for row in range(ROWS)], id="exponents"),
    ],
)
def test_any_cells(column: list[str]) -> None:
    law(csv_text({**columns(), "other": column}).encode())


@pytest.mark.parametrize(("tail", "delimiter"), [(".0", ","), (",0", ";"), (".00", ",")])
def test_labels_are_filled_as_their_column_spells_them(tail: str, delimiter: str) -> None:
    grades = [f"{row % 4 + 1}{tail}" if row % 7 else "" for row in range(ROWS)]
    law(csv_text({**columns(decimal=tail[0]), "grade": grades}, delimiter).encode())
    with Path("filled-x.csv").open() as file:
        filled = {row["grade"] for row in csv.DictReader(file, delimiter=delimiter)}
    assert filled == {f"{label}{tail}" for label in range(1, 5)}


def test_numbers_with_units_are_filled_with_them() -> None:
    rng = np.random.default_rng(0)
    table = columns(decimal=",")
    table["weight"] = with_gaps(rng, [f"{cell} kg" for cell in cells(rng, ROWS, ",")])
    table["price"] = with_gaps(rng, [f"€ {cell}" for cell in cells(rng, ROWS, ",")])
    law(csv_text(table, ";").encode())
    with Path("filled-x.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert all(re.fullmatch(r"-?\d+(,\d+)? kg", row["weight"]) for row in rows if row["weight"])
    assert all(re.fullmatch(r"-?€ \d+(,\d+)?", row["price"]) for row in rows if row["price"])
    assert sum(not row["weight"] for row in rows) <= sum(row["row.observed"] == "false" for row in rows)


def test_decimal_commas_and_thousands() -> None:
    rng = np.random.default_rng(0)
    table = columns(decimal=",")
    whole = [f"{row * 37 % 50 + 1}.{row:03d}" if row % 5 else f"{row}" for row in range(ROWS)]
    table["population"] = with_gaps(rng, whole, "k.A.")
    law(csv_text(table, ";").encode())


# --- formats -------------------------------------------------------------------------------------------


def test_gzip() -> None:
    law(gzip.compress(csv_text(columns()).encode()), "x.csv.gz")


def records() -> list[dict[str, Any]]:
    return [
        {"size": row * 37 % 50 / 4 if row % 4 else None, "smokes": bool(row % 3) if row % 5 else None}
        | {"grade": row % 3 + 1 if row % 6 else None, "name": f"n{row}", "more": {"at": [row]}}
        | ({"weight": row * 7 % 11 + 0.5} if row % 7 else {})
        | {"dose": f"{row * 37 % 50 / 4} mg" if row % 5 else None}
        for row in range(ROWS)
    ]


def test_json_lines() -> None:
    law("".join(json.dumps(record) + "\n" for record in records()).encode(), "x.jsonl")


def test_json() -> None:
    law(json.dumps(records()).encode(), "x.json")


def test_excel() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["size", "smokes", "grade", "day", "dose"])
    for row, record in enumerate(records()):
        day = np.datetime64("2024-01-01") + row
        book.active.append([record["size"], record["smokes"], record["grade"], day.item(), record["dose"]])
    book.save("book.xlsx")
    law(Path("book.xlsx").read_bytes(), "x.xlsx")


# --- generated tables ----------------------------------------------------------------------------------

HEADERS = [
    "Bcl.3",
    "Health",
    "height [cm]",
    "Größe",
    "sex",
    "x.y",
    "A",
    "a",
    "rate (%)",
    "n",
    "prior",
    "1st",
    "a b",
]
KINDS = ["number", "label", "count", "boolean", "percent", "identifier", "date", "grade"]


def column_of(kind: str, rng: np.random.Generator, decimal: str, mark: str) -> list[str]:
    """A column of random cells of one kind, with gaps where the model may fill them."""
    choose = lambda *words: [str(word) for word in rng.choice(words, ROWS)]  # noqa: E731
    match kind:
        case "number":
            return with_gaps(rng, cells(rng, ROWS, decimal), mark)
        case "label":
            return with_gaps(rng, choose("red", "green", "blue, dark"), "")
        case "count":
            return with_gaps(rng, [str(value) for value in rng.poisson(3, ROWS)], mark)
        case "boolean":
            return with_gaps(rng, choose("true", "false"), "")
        case "percent":
            return with_gaps(rng, [f"{cell}%" for cell in cells(rng, ROWS, decimal, 1)], mark)
        case "identifier":
            return [f"p-{number}" for number in rng.permutation(1000)[:ROWS]]
        case "date":
            return [
                f"20{10 + number % 15}-{1 + number % 12:02d}-{1 + number % 28:02d}"
                for number in rng.permutation(ROWS)
            ]
        case _:
            return with_gaps(rng, choose("1", "2", "3"), mark)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    headers=st.lists(st.sampled_from(HEADERS), min_size=2, max_size=6, unique=True),
    kinds=st.lists(st.sampled_from(KINDS), min_size=6, max_size=6),
    dialect=st.sampled_from([(",", "."), (";", ","), (";", "."), ("\t", ","), ("|", ".")]),
    mark=st.sampled_from(["", "NA", ".", "#N/A"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]),
    titles=st.sampled_from([(), ("# measured",), ("Report of 2024",)]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_table(
    seed: int,
    headers: list[str],
    kinds: list[str],
    dialect: tuple[str, str],
    mark: str,
    line_end: str,
    encoding: str,
    titles: tuple[str, ...],
    quoting: int,
) -> None:
    rng = np.random.default_rng(seed)
    delimiter, decimal = dialect
    table = {"size": cells(rng, ROWS, decimal)}
    table |= {
        header: column_of(kind, rng, decimal, mark) for header, kind in zip(headers, kinds, strict=False)
    }
    titles = titles if len(table) > 2 else ()
    content = csv_text(table, delimiter, line_end, titles, quoting).encode(encoding)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.csv")
        file.write_bytes(content)
        try:
            store = publish_for(Path(folder), [file])
        except TrainingError:  # the law is about tables that init accepts
            reject()
        check_law(store, file)
