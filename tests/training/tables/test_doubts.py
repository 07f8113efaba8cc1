"""``init`` says which readings of columns only the user can confirm, and nothing of ordinary columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.training.tables.tables import guessed_text, modalities, write

N = 200
RNG = np.random.default_rng(0)
MEASURE = RNG.normal(size=N).round(3)


def to_check(path: Path) -> str:
    """The comments on what to check."""
    return guessed_text(path).partition("# to check:")[2]


def described(tmp_path: Path, name: str, values: Any) -> tuple[str, str]:
    """Kind of the view with this column ("left out" where none has it), and the comments on what to check."""
    path = write(tmp_path / "t.csv", {name: list(values), "measured": MEASURE})
    views = modalities(path)
    kinds = [
        one["kind"]
        for one in views.values()
        if name in (one.get("field"), *(column["name"] for column in one.get("columns", ())))
    ]
    return kinds[0] if kinds else "left out", to_check(path)


@pytest.mark.parametrize(
    ("name", "values", "kind", "sentence"),
    [
        (
            "rooms",
            RNG.integers(1, 9, N),
            "category",
            "'rooms': 8 or more whole numbers are learned",
        ),
        ("stage", RNG.integers(1, 5, N), "category", ""),
        ("pregnancies", np.minimum(RNG.poisson(2.5, N), 9), "counts", ""),
        ("digit", np.minimum(RNG.poisson(2.5, N), 9), "category", "'digit': 8 or more whole numbers"),
        ("answer", RNG.integers(0, 10, N), "category", "'answer': 8 or more whole numbers"),
        ("naics", RNG.choice(np.arange(110_000, 990_000, 7919), N), "vector", "'naics': codes by the name"),
        ("zip", RNG.integers(10_000, 99_999, N), "vector", "'zip': codes by the name"),
        ("acid", RNG.integers(10_000, 99_999, N), "vector", ""),
        ("phone", RNG.integers(10**9, 10**10, N), "left out", ""),
        ("price", RNG.permutation(np.arange(1000, 9999))[:N] * 1000, "vector", ""),
        ("bp", [f"{a}/{b}" for a, b in RNG.integers((110, 70), (118, 76), (N, 2))], "left out", ""),
        ("age", [f"{a}-{a + 4}" for a in 5 * RNG.integers(0, 18, N)], "category", "the order 0-4, 5-9"),
        ("height", [f"5'{a}\"" for a in np.arange(N) % 16], "category", "most of the 16 labels of 'height'"),
        ("near", [f"{'~' * (a % 5 == 0)}{a % 60}" for a in range(N)], "category", "such as '~0'"),
        (
            "mass",
            [f"{a} {u}" for a in range(50) for u in ("kg", "lbs")] * 2,
            "category",
            "",  # the reader of the file names the units
        ),
        ("ward", [f"{'ABC'[a % 3]}{a % 10}x" for a in range(N)], "category", ""),
    ],
)
def test_a_reading_that_may_be_wrong_is_named(
    tmp_path: Path, name: str, values: Any, kind: str, sentence: str
) -> None:
    actual, sentences = described(tmp_path, name, values)
    assert actual == kind
    assert sentence in sentences
    if not sentence:
        assert f"'{name}'" not in sentences


def test_numbers_of_many_digits_that_differ_are_said_to_identify_the_rows(tmp_path: Path) -> None:
    columns = {"phone": RNG.permutation(np.arange(3_000_000, 9_000_000, 7))[:N], "x": MEASURE}
    text = guessed_text(write(tmp_path / "t.csv", columns))
    assert "phone: its whole numbers of 7 digits all differ: it identifies the rows" in text


def test_an_answer_without_a_place_in_the_order_is_named_with_all_its_columns(tmp_path: Path) -> None:
    scale = ["Strongly disagree", "Disagree", "Neutral", "Agree", "Strongly agree", "Don't know"]
    columns = {f"Q{j}": [scale[(row + j) % 6] for row in range(N)] for j in range(2)}
    (line,) = [line for line in to_check(write(tmp_path / "t.csv", columns)).splitlines() if "Q0" in line]
    assert "'Q0', 'Q1': 'Don't know' has no place in the order of the other labels" in line
    assert line.endswith("[data] missing, else write labels in their order: " + ", ".join(scale[:5]))


@pytest.mark.parametrize(("ordered", "expected"), [(True, ["z", "y", "x"]), (False, ["x", "y", "z"])])
def test_labels_have_the_order_that_a_parquet_file_states(
    tmp_path: Path, ordered: bool, expected: list[str]
) -> None:
    grades = pd.Categorical([*"yxz"] * 20, ["z", "never", "y", "x"], ordered=ordered)
    frame = pd.DataFrame({"grade": grades, "x": MEASURE[:60]})
    frame.to_parquet(tmp_path / "t.parquet")
    assert modalities(tmp_path / "t.parquet")["grade"]["labels"] == expected
    # without its dictionary, a file has the labels in the order of the rows
    frame.to_parquet(tmp_path / "t.parquet", use_dictionary=False)
    assert modalities(tmp_path / "t.parquet")["grade"]["labels"] == ["x", "y", "z"]


def test_a_column_that_another_file_has_too_is_named(tmp_path: Path) -> None:
    keys = np.arange(N) * 3 + 1
    age, group = RNG.integers(20, 90, N), RNG.choice(["a", "b"], N)
    first = {"id": [f"p{key}" for key in keys], "age": age, "group": group, "x": MEASURE}
    order = RNG.permutation(N)[: N // 2]
    others = {name: np.array(values)[order] for name, values in first.items() if name != "x"}
    others = {"id": others["id"], "Age": others["age"].astype(float), "group": others["group"]}
    others["y"] = RNG.normal(size=N // 2).round(3)
    text = guessed_text(write(tmp_path / "a.csv", first), write(tmp_path / "b.csv", others))
    same = "in all 100 cases that have both: leave one out, since it gives the other away"
    assert f"'Age' of b.csv is equal to 'age' of a.csv {same}" in text
    assert f"'group' of b.csv is equal to 'group' of a.csv {same}" in text
    assert "'y' of b.csv" not in text
    others["Age"][0] += 1
    text = guessed_text(tmp_path / "a.csv", write(tmp_path / "b.csv", others))
    assert "'Age' of b.csv is equal" not in text
