"""Columns become few views: by file, by first word, by gaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.tables.tables import modalities, names_of_columns, write

N = 60
RNG = np.random.default_rng(0)
PROTEINS = ["Bcl.3", "i.NOS", "i.BABP", "C16.0", "C18.0", "C18.1n.9", "Akt", "Akt_pS473", "Akt_pT308", "p27",
            "p27_pT157", "4E-BP1", "4E-BP1_pS65"]  # fmt: skip
LIPIDS = ["C14.0", "C16.0", "C18.0", "C16.1n.9", "C16.1n.7", "C18.1n.9", "C20.1n.9", "C20.3n.9", "C22.5n.3"]


def numbers(headers: list[str]) -> dict[str, Any]:
    return {header: RNG.normal(size=N).round(4) for header in headers}


@pytest.mark.parametrize("headers", [PROTEINS, LIPIDS, [f"g{i // 2}_{i}" for i in range(120)]])
@pytest.mark.parametrize("key", [False, True])
def test_one_file_with_one_kind_of_column_and_no_gaps_is_one_view(
    tmp_path: Path, headers: list[str], key: bool
) -> None:
    columns = ({"sample": [f"s{i}" for i in range(N)]} if key else {}) | numbers(headers)
    views = modalities(write(tmp_path / "assay.csv", columns))
    assert {name: names_of_columns(view) for name, view in views.items()} == {"assay": headers}


def test_first_words_that_part_a_file_into_few_groups_are_views(tmp_path: Path) -> None:
    headers = [f"{word}_{i}" for word in ("rna", "protein") for i in range(60)]
    views = modalities(write(tmp_path / "both.csv", numbers(headers)))
    assert {name: len(view["columns"]) for name, view in views.items()} == {"rna": 60, "protein": 60}


def test_a_wide_file_with_gaps_is_not_torn_apart_by_first_words(tmp_path: Path) -> None:
    columns = numbers([*PROTEINS, *(f"X{i}" for i in range(60))])
    for header in columns:
        columns[header] = [None if RNG.random() < 0.1 else value for value in columns[header]]
    views = modalities(write(tmp_path / "assay.csv", columns))
    assert [len(view["columns"]) for view in views.values()] == [73]


def test_a_block_of_gaps_is_a_view_in_a_wide_file(tmp_path: Path) -> None:
    columns = numbers([f"x{i}" for i in range(80)])
    for header in list(columns)[:30]:
        columns[header] = [None if row % 3 == 0 else value for row, value in enumerate(columns[header])]
    views = modalities(write(tmp_path / "t.csv", columns))
    assert {name: len(view["columns"]) for name, view in views.items()} == {"x0": 30, "t": 50}


def test_columns_of_a_view_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    columns = numbers(["a", "b", "c", "d"])
    columns["b"] = [None, *columns["b"][1:]]
    views = modalities(write(tmp_path / "t.csv", {**columns, "sex": ["f", "m"] * 30}))
    names = [names_of_columns(one) for one in views.values() if "columns" in one]
    assert names == [["a", "b", "c", "d"]]
