"""Columns that follow from others are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.tables.tables import write
from training.tables.opening import open_file
from training.tables.relations import by_file
from training.tables.survey import look

N = 300
RNG = np.random.default_rng(0)
HEIGHT, WEIGHT = RNG.normal(170, 9, N).round(1), np.exp(RNG.normal(4.3, 0.18, N)).round(1)
PARTS = RNG.integers(0, 50, (3, N))


def sentences(tmp_path: Path, columns: dict[str, Any]) -> list[str]:
    return by_file(look(open_file(write(tmp_path / "t.csv", columns))))


COLOUR = RNG.integers(0, 4, N)
ONE_HOT = {f"colour_{at}": np.equal(COLOUR, at).astype(int) for at in range(4)}


@pytest.mark.parametrize(
    "names", [list(ONE_HOT), ["red", "green", "blue", "other"], ["is f", "is m", "is d", "is x"]]
)
def test_one_hot_columns_are_named_with_the_remedy(tmp_path: Path, names: list[str]) -> None:
    columns = {"h": HEIGHT, **dict(zip(names, ONE_HOT.values(), strict=True)), "w": WEIGHT}
    (line,) = sentences(tmp_path, columns)
    assert line.startswith(", ".join(f"'{name}'" for name in names))
    assert "make them one column of labels, which is learned as a category" in line


def test_truth_values_of_get_dummies_are_one_hot(tmp_path: Path) -> None:
    truths = {name: np.equal(cells, 1) for name, cells in ONE_HOT.items()}
    (line,) = sentences(tmp_path, {"h": HEIGHT, **truths, "smokes": RNG.random(N) < 0.4})
    assert line.startswith("'colour_0', 'colour_1', 'colour_2', 'colour_3' are one-hot: ")
    assert sentences(tmp_path, {**truths, "colour_0": RNG.random(N) < 0.4, "h": HEIGHT}) == []


def test_two_groups_of_one_hot_columns_are_two_lines(tmp_path: Path) -> None:
    size = RNG.integers(0, 3, N)
    sizes = {name: (size == at).astype(int) for at, name in enumerate(["small", "medium", "large"])}
    gaps = {
        name: [None if row % 7 == 0 else one for row, one in enumerate(cells)]
        for name, cells in sizes.items()
    }
    assert len(sentences(tmp_path, {**ONE_HOT, **gaps})) == 2


def test_switches_are_not_one_hot(tmp_path: Path) -> None:
    columns = {f"symptom_{at}": (RNG.random(N) < 0.4).astype(int) for at in range(4)}
    assert sentences(tmp_path, columns) == []


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"h": HEIGHT, "w": WEIGHT, "BMI": (WEIGHT / (HEIGHT / 100) ** 2).round(2)},
            "'BMI' follows from 'w', 'h' by a product of powers",
        ),
        (
            {"a": PARTS[0], "b": PARTS[1], "c": PARTS[2], "total": PARTS.sum(0)},
            "'total' follows from 'a', 'b', 'c' by a weighted sum",
        ),
        (
            {"low": HEIGHT, "high": WEIGHT, "middle": (HEIGHT + WEIGHT) / 2, "x": RNG.normal(size=N)},
            "'middle' follows from 'low', 'high' by a weighted sum",
        ),
        ({"h": HEIGHT, "w": WEIGHT, "h2": HEIGHT}, "'h2' is equal to 'h'"),
        ({"cm": HEIGHT, "m": (HEIGHT / 100).round(3)}, "'m' rises or falls with 'cm' in every row"),
        ({"x": WEIGHT, "log": np.log(WEIGHT).round(6)}, "'log' rises or falls with 'x' in every row"),
        ({"x": HEIGHT, "minus": -HEIGHT}, "'minus' rises or falls with 'x' in every row"),
    ],
)
def test_a_column_that_follows_from_others_is_named(
    tmp_path: Path, columns: dict[str, Any], expected: str
) -> None:
    (sentence,) = sentences(tmp_path, columns)
    named = expected.split(" by a ")[0]
    names = set(named.split("'")[1::2])
    assert set(sentence.split("'")[1::2]) == names
    assert sentence.startswith(named.split(" from ")[0].split(" with ")[0])
    assert sentence.endswith(expected.split(" by a ")[-1]) or " by a " not in expected


def test_gaps_do_not_hide_a_relation(tmp_path: Path) -> None:
    bmi = [None if row % 7 == 0 else cell for row, cell in enumerate((WEIGHT / HEIGHT**2).round(6))]
    rare = [cell if row % 9 == 0 else None for row, cell in enumerate(RNG.normal(size=N))]
    (sentence,) = sentences(tmp_path, {"h": HEIGHT, "w": WEIGHT, "BMI": bmi, "rare": rare})
    assert sentence.startswith("'BMI' follows from")


def test_columns_that_are_merely_correlated_are_not_named(tmp_path: Path) -> None:
    factors = RNG.normal(size=(N, 2)) @ RNG.normal(size=(2, 30)) + 0.3 * RNG.normal(size=(N, 30))
    columns: dict[str, Any] = {f"x{at}": column.round(3) for at, column in enumerate(factors.T)}
    assert sentences(tmp_path, {**columns, "sex": RNG.integers(0, 2, N), "arm": RNG.integers(0, 2, N)}) == []


def test_copies_are_found_among_many_columns(tmp_path: Path) -> None:
    values = RNG.normal(size=(40, 600)).round(4)
    columns = {f"g{at}": values[:, at] for at in range(600)} | {"again": values[:, 17]}
    assert sentences(tmp_path, columns) == ["'again' is equal to 'g17'"]
