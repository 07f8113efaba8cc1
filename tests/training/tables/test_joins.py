"""Files are joined by their key, never in silence by position."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.training.tables.tables import guessed_text, write
from training.config import read_experiment
from training.data import Prepared, prepare
from training.errors import TrainingError
from training.tables.cases import load_keys
from training.tables.guess import guess
from training.tables.opening import open_file

N = 40
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=N).round(3), RNG.normal(size=N).round(3)


def joined(tmp_path: Path, first: dict[str, Any], second: dict[str, Any]) -> tuple[Path, Path]:
    return write(tmp_path / "a.csv", first), write(tmp_path / "b.csv", second)


def prepared(*paths: Path) -> tuple[str | None, Prepared]:
    """The key of the experiment on some files, and its rows."""
    text = guessed_text(*paths)
    path = paths[0].with_suffix(".toml")
    path.write_text(text)
    return tomllib.loads(text)["data"].get("key"), prepare(read_experiment(str(path))[0])


def pairs(rows: Prepared) -> dict[float, float]:
    """By value of x, the value of y in the same case; NaN where one is missing."""
    both = {}
    for split in (rows.train, rows.validation, rows.test):
        x, y = (split.data[name].numpy().astype(float)[:, 0] for name in ("a", "b"))
        x[~split.masks["a"].numpy()], y[~split.masks["b"].numpy()] = np.nan, np.nan
        both.update({round(one, 3): round(other, 3) for one, other in zip(x, y, strict=True)})
    return both


IDS = [f"{i}" for i in range(1, N + 1)]


@pytest.mark.parametrize(
    ("header", "other", "keys", "others"),
    [
        ("id", "id", IDS, IDS),
        ("id", "ID", IDS, IDS),
        ("Patient ID", "patient_id", IDS, IDS),
        ("id", "id", IDS, [f"{i:03d}" for i in range(1, N + 1)]),
        ("id", "id", IDS, [f"{i}.0" for i in range(1, N + 1)]),
        ("id", "id", [f"p{i}" for i in range(N)], [f"P{i}" for i in range(N)]),
    ],
    ids=[
        "equal",
        "case of the header",
        "punctuation of the header",
        "leading zeros",
        "1.0",
        "case of the key",
    ],
)
def test_rows_with_the_same_key_are_one_case(
    tmp_path: Path, header: str, other: str, keys: list[str], others: list[str]
) -> None:
    order = RNG.permutation(N)
    second = {other: [others[at] for at in order], "y": [Y[at] for at in order]}
    key, rows = prepared(*joined(tmp_path, {header: keys, "x": X}, second))
    assert key == header
    assert pairs(rows) == pytest.approx(dict(zip(X, Y, strict=True)))


def test_a_column_of_numbers_joins_a_column_of_text(tmp_path: Path) -> None:
    order = RNG.permutation(N)
    parquet.write_table(pa.table({"id": order + 1, "y": Y[order]}), tmp_path / "b.parquet")
    first = write(tmp_path / "a.csv", {"id": [f"{i:04d}" for i in range(1, N + 1)], "x": X})
    key, rows = prepared(first, tmp_path / "b.parquet")
    assert key == "id"
    assert pairs(rows) == pytest.approx(dict(zip(X, Y, strict=True)))


def test_keys_that_differ_by_a_zero_alone_stay_apart(tmp_path: Path) -> None:
    keys = ["1", "01", *(f"{i}" for i in range(2, N))]
    _, rows = prepared(*joined(tmp_path, {"id": keys, "x": X}, {"id": keys, "y": Y}))
    assert pairs(rows) == pytest.approx(dict(zip(X, Y, strict=True)))


def test_rows_without_a_key_are_left_out_and_the_others_joined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    order = RNG.permutation(N)
    keys = [IDS[at] for at in order]
    keys[3] = ""
    paths = joined(tmp_path, {"id": IDS, "x": X}, {"id": keys, "y": Y[order]})
    with caplog.at_level(logging.WARNING):
        key, rows = prepared(*paths)
    assert key == "id"
    assert "'id' is empty in 1 rows, which are left out" in caplog.text
    expected = dict(zip(X, Y, strict=True)) | {X[order[3]]: np.nan}
    assert pairs(rows) == pytest.approx(expected, nan_ok=True)


def test_cases_of_one_file_alone_are_kept(tmp_path: Path) -> None:
    keys = [f"{i}" for i in range(11, N + 11)]
    _, rows = prepared(*joined(tmp_path, {"id": IDS, "x": X}, {"id": keys, "y": Y}))
    assert sum(len(split) for split in (rows.train, rows.validation, rows.test)) == N + 10


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            {"id": IDS, "x": X},
            {"id": [f"q{i}" for i in IDS], "y": Y},
            "no value of 'id' is in two of the files",
        ),
        (
            {"patient": IDS, "x": X},
            {"patient": [f"{i // 2}" for i in range(N)], "y": Y},
            r"b\.csv: 'patient' would join the files, but has a value more than once",
        ),
        (
            {"patient": [f"p{i}" for i in IDS], "x": X},
            {"subject": [f"p{i}" for i in reversed(IDS)], "y": Y},
            "'patient' of .* and 'subject' of .* hold the same keys; give both columns one header",
        ),
    ],
)
def test_keys_that_do_not_join_are_refused_in_one_sentence(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message) as refusal:
        guessed_text(*joined(tmp_path, first, second))
    assert "\n" not in str(refusal.value)


def test_keys_in_sentences_are_spelled_as_in_the_file(tmp_path: Path) -> None:
    first = [f"P{i:03d}" for i in range(N)]
    lines = guess(joined(tmp_path, {"id": first, "x": X}, {"id": [*first[2:], "Q1", "Q2"], "y": Y}), tmp_path)
    text = "\n".join(lines.report)
    assert "with the 'id' 'P000', 'P001'" in text
    assert "with the 'id' 'Q1', 'Q2'" in text


def test_a_repeated_key_is_spelled_as_in_the_file(tmp_path: Path) -> None:
    file = open_file(write(tmp_path / "a.csv", {"id": ["P1", "P2", "P1"], "x": X[:3]}))
    with pytest.raises(TrainingError, match="the key 'P1' occurs more than once in 'id'"):
        load_keys([file], "id")


def test_keys_that_join_nothing_are_spelled_as_in_the_files(tmp_path: Path) -> None:
    columns = {"id": ["P1", "P2"], "x": X[:2]}, {"id": ["Q1", "q2"], "y": Y[:2]}
    files = [open_file(path) for path in joined(tmp_path, *columns)]
    with pytest.raises(TrainingError, match=r"a\.csv has 'P1', 'P2' and .*b\.csv has 'Q1', 'q2'"):
        load_keys(files, "id")
