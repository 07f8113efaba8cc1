"""``init`` decides by values and by neighbours what a column is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.tables.tables import guessed_text, modalities, names_of_columns, write

N = 60
RNG = np.random.default_rng(0)
MEASURE = RNG.normal(size=N).round(3)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1.0", "2.0", ""], ["1", "2"]),
        (["1", "2", "3"], ["1", "2", "3"]),
        (["10.0", "9.0", "-1.0", ""], ["-1", "9", "10"]),
        (["0", "", "1"], ["0", "1"]),
    ],
)
def test_labels_of_whole_numbers_have_no_point(tmp_path: Path, cells: list[str], expected: list[str]) -> None:
    columns = {"grade": [cells[row % len(cells)] for row in range(N)], "x": MEASURE}
    assert modalities(write(tmp_path / "t.csv", columns))["grade"]["labels"] == expected


@pytest.mark.parametrize("genes", [30, 60])
def test_whole_numbers_beside_counts_are_counts(tmp_path: Path, genes: int) -> None:
    """Few different values, or no zero among them, make neither categories nor measures of them."""
    rng = np.random.default_rng(1)
    rates = np.exp(rng.normal(1.0, 1.2, genes))
    depth = np.exp(0.5 * rng.normal(size=(200, 1)))
    counts = rng.poisson(rng.gamma(1.5, depth * rates / 1.5))
    proteins = rng.poisson(rng.gamma(1.5, depth * np.full(6, 30.0) / 1.5))
    columns: dict[str, Any] = {f"gene_{j}": counts[:, j] for j in range(genes)}
    columns |= {f"protein_{j}": proteins[:, j] for j in range(6)}
    assert any(len(np.unique(column)) <= 10 for column in counts.T)
    views = modalities(write(tmp_path / "t.csv", columns))
    assert {name: (one["kind"], len(one["columns"])) for name, one in views.items()} == {
        "gene": ("counts", genes), "protein": ("counts", 6)
    }  # fmt: skip


def test_answers_beside_one_count_stay_categories(tmp_path: Path) -> None:
    columns = {
        "n_visits": RNG.poisson(5, N) * (np.arange(N) % 3),
        "smoker": np.arange(N) % 2,
        "children": np.arange(N) % 4,
        "age": RNG.integers(20, 80, N),
    }
    kinds = {name: one["kind"] for name, one in modalities(write(tmp_path / "t.csv", columns)).items()}
    assert kinds == {"smoker": "category", "children": "category", "t": "vector", "t_counts": "counts"}


def test_many_columns_of_the_same_few_whole_numbers_are_one_view(tmp_path: Path) -> None:
    """Shares of methylated reads are mostly 0 or 100."""
    rng = np.random.default_rng(2)
    shares = rng.choice([0, 100, 50], p=[0.5, 0.45, 0.05], size=(N, 40)).astype(object)
    shares[rng.random(shares.shape) < 0.3] = None
    columns: dict[str, Any] = {f"site{j}": shares[:, j] for j in range(40)}
    columns["mixed"] = rng.choice([0, 33.3, 66.7, 100], N)
    (view,) = modalities(write(tmp_path / "sites.csv", columns)).values()
    assert (view["kind"], view["likelihood"], view["range"]) == ("vector", "bernoulli", [0.0, 100.0])
    assert len(view["columns"]) == 41


def test_many_answers_on_one_scale_are_one_view_of_numbers(tmp_path: Path) -> None:
    answers = np.random.default_rng(3).integers(1, 6, (N, 25))
    answers[0], answers[1] = 1, 5
    columns = {f"item{j}": answers[:, j] for j in range(25)}
    (view,) = modalities(write(tmp_path / "items.csv", columns)).values()
    assert (view["kind"], view["likelihood"]) == ("vector", "normal")


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("patient", [f"pat-{i:03d}" for i in range(N)], "all its 60 values differ: it identifies the rows"),
        ("mail", [f"{i}@a.org" for i in range(N)], "all its 60 values differ: it identifies the rows"),
        ("row", list(range(5, N + 5)), "numbers the rows"),
        ("ticket", sorted((np.arange(N) * 7 + RNG.integers(0, 6, N)).tolist()), "identifies the rows"),
        ("shuffled", RNG.permutation(N).tolist(), "holds each whole number from 0 to 59 once"),
        ("name", [f"n{i % 50}" for i in range(N)], "text with too many different values"),
        ("born", [f"19{i + 20}-03-{i % 28 + 1:02d}" for i in range(N)], "holds dates or times"),
        ("visit", [f"2024-03-{i % 28 + 1:02d}" for i in range(N)], "holds dates or times"),
        ("hour", [f"{i % 24:02d}:30" for i in range(N)], "holds dates or times"),
        ("day", [f"{i % 28 + 1} Mar 2024" for i in range(N)], "holds dates or times"),
        ("day", [f"March {i % 28 + 1}, 2024" for i in range(N)], "holds dates or times"),
        (
            "bp",
            [f"{110 + i % 40}/{60 + i % 30}" for i in range(N)],
            "several numbers in a cell",
        ),
        ("mean", [f"{i / 4} (0.5)" for i in range(N)], "numbers in a cell, such as '0.0 (0.5)'"),
        ("range", [f"{i / 4} [0.1, 0.5]" for i in range(N)], "numbers in a cell, such as '0.0 [0.1, 0.5]'"),
        ("stay", [f"{i % 5}h {i}m" for i in range(N)], "holds dates or times"),
        ("delay", [f"PT{i}M" for i in range(N)], "holds dates or times"),
        ("ticked", ["x" if i % 3 else None for i in range(N)], "always 'x' or empty; write a word for empty"),
        ("post_id", [10**18 + 977 * 2**i for i in range(N)], "looks like an identifier"),
        ("post", [2**60 + i for i in range(N)], "numbers of over 15 digits are equal as floats"),
        ("error", [f"{i / 4} ± 0.5" for i in range(N)], "numbers in a cell, such as '0.0 ± 0.5'"),
        (
            "lon",
            [f"{i / 4}°{'EW'[i % 2]}" for i in range(N)],
            "text around them, such as '0.0°E'",
        ),
        (
            "profit",
            [f"{i}.5" if i % 3 else f"({i}.5)" for i in range(N)],
            "write a minus before those below 0",
        ),
        (
            "acct",
            [f"{i}.5" if i % 2 else f"({i}.5)" for i in range(400)],
            "numbers such as '(0.5)'; write a minus before those below 0",
        ),
        (
            "trail",
            [f"{i}.5" if i % 2 else f"{i}.5-" for i in range(400)],
            "numbers such as '0.5-'; write a minus before those below 0",
        ),
        (
            "result",
            [f"${i},234.50" if i % 5 else f"(${i}.10)" for i in range(1, 400)],
            "numbers such as '($5.10)'; write a minus before those below 0",
        ),
        ("loss", [i if i % 2 else f"({i})" for i in range(N)], "numbers such as '(0)'; write a minus"),
        ("site", ["here"] * N, "always 'here'"),
        (
            "price",
            [f"{'$€'[at % 2]}{at * 7 % 50}.{at:02d}" for at in range(N)],
            "numbers with text around them, such as '$0.00'",
        ),
        (
            "tall",
            [f"{at * 7 % 50}.5 {'cm' if at % 2 else 'in'}" for at in range(N)],
            "numbers with text around them, such as '0.5 in'",
        ),
        (
            "change",
            [f"({at * 7 % 50}.5)" for at in range(N)],
            "numbers with text around them, such as '(0.5)'",
        ),
        (
            "lab",
            [f"{at}.5" if at % 2 else "low" for at in range(N)],
            "numbers and text such as 'low'; name the text",
        ),
        ("picture", [f"https://example.org/{at}.png" for at in range(N)], "names files on the web"),
        ("slide", [f"{at}.dcm" for at in range(N)], "all its 60 values differ: it identifies the rows"),
        ("excel", [f'="{at}.5"' for at in range(N)], "numbers with text around them"),
        ("zero", [0.0] * N, "always 0"),
        ("empty", [None] * N, "always empty"),
        ("WTSURVEY", np.exp(RNG.normal(9, 1, N)).round(4), "weight of a survey"),
        ("WTMEC2YR", np.exp(RNG.normal(9, 1, N)).round(4), "weight of a survey"),
        ("sampling_weight", np.exp(RNG.normal(9, 1, N)).round(4), "weight of a survey"),
        ("SDMVSTRA", RNG.integers(1, 9, N), "stratum or cluster of a survey"),
        ("strata", ["north", "south"] * (N // 2), "stratum or cluster of a survey"),
    ],
)
def test_columns_that_say_nothing_of_a_case_are_left_out_with_a_line(
    tmp_path: Path, name: str, values: list[Any], reason: str
) -> None:
    others = np.resize(MEASURE, len(values))
    text = guessed_text(write(tmp_path / "t.csv", {name: values, "x": others, "y": others**2}))
    (line,) = [line for line in text.splitlines() if line.startswith(f"#   {name}: ")]
    assert reason in line
    assert f'"{name}"' not in text.partition("# left out")[0].replace('name = "t"', "")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("weight", RNG.normal(70, 9, N).round(1)),
        ("weight_kg", RNG.normal(70, 9, N).round(1)),
        ("population", np.exp(RNG.normal(9, 1, N)).astype(int)),
        ("income", RNG.permutation(90_000)[:N]),
    ],
)
def test_measures_that_look_a_little_like_keys_or_weights_stay(
    tmp_path: Path, name: str, values: Any
) -> None:
    views = modalities(write(tmp_path / "t.csv", {name: values, "x": MEASURE})).values()
    assert sorted(column for view in views for column in names_of_columns(view)) == sorted(
        [name.removesuffix("_kg"), "x"]
    )


@pytest.mark.parametrize("labels", [["ward 1", "12", "B"], ["A1", "B2", "C3"], ["1", "2", "3+"]])
def test_codes_of_digits_and_letters_are_labels(tmp_path: Path, labels: list[str]) -> None:
    columns = {"code": [labels[row % 3] for row in range(N)], "x": MEASURE}
    assert modalities(write(tmp_path / "t.csv", columns))["code"]["labels"] == sorted(labels)


def test_labels_that_differ_by_case_alone_are_named(tmp_path: Path) -> None:
    columns = {"sex": ["fmFM"[row % 4] for row in range(N)], "x": MEASURE}
    text = guessed_text(write(tmp_path / "t.csv", columns))
    assert "'sex' has labels that differ by case alone: F, M, f, m" in text


def test_a_format_of_files_that_is_not_read_is_named(tmp_path: Path) -> None:
    for row in range(N):
        (tmp_path / f"{row}.psd").write_bytes(b"8BPS")
    columns = {"photo": [f"{row}.psd" for row in range(N)], "x": MEASURE}
    text = guessed_text(write(tmp_path / "t.csv", columns))
    assert "#   photo: names files of the format .psd, which is not read; convert them to" in text
