"""Measures above 0 with a long tail are learned on a log scale, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.tables.tables import modalities, names_of_columns, write

N = 300
RNG = np.random.default_rng(0)
PLAIN = {name: RNG.normal(100, 9, N).round(2) for name in ("height", "weight")}
TAILED = {name: np.exp(RNG.normal(2, 1, N)).round(4) for name in ("bilirubin", "copper")}


def by_likelihood(path: Path, columns: dict[str, Any]) -> dict[str, list[str]]:
    views = modalities(write(path / "t.csv", columns)).values()
    return {view["likelihood"]: names_of_columns(view) for view in views}


def test_long_tails_are_a_view_on_a_log_scale(tmp_path: Path) -> None:
    assert by_likelihood(tmp_path, {**PLAIN, **TAILED}) == {
        "normal": ["height", "weight"],
        "log_normal": ["bilirubin", "copper"],
    }


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.exp(RNG.normal(2, 1, N)).round(4) - 1.5, id="some below 0"),
        pytest.param(np.where(np.arange(N) < 3, 0, np.exp(RNG.normal(2, 1, N)).round(4)), id="some 0"),
        pytest.param(-np.exp(RNG.normal(2, 1, N)).round(4), id="all below 0"),
        pytest.param(RNG.uniform(1, 9, N).round(4), id="no tail"),
        pytest.param(1000 + np.exp(RNG.normal(2, 1, N)).round(4), id="a tail that logarithms keep"),
    ],
)
def test_other_measures_are_not(tmp_path: Path, values: Any) -> None:
    assert by_likelihood(tmp_path, {**PLAIN, "x": values}) == {"normal": ["height", "weight", "x"]}


@pytest.mark.parametrize(("tails", "expected"), [(25, "log_normal"), (5, "normal")])
def test_many_measures_are_one_view_as_most_of_them_are(tmp_path: Path, tails: int, expected: str) -> None:
    columns = {f"g{at}": np.exp(RNG.normal(2, 1 if at < tails else 0.1, N)).round(4) for at in range(30)}
    assert by_likelihood(tmp_path, columns) == {expected: list(columns)}
