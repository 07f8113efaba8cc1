"""Names of columns and modalities stay apart, and lead back to their headers."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models_store.errors import ManifestError
from models_store.manifest import Modality
from tests.training.tables.tables import guessed_text, modalities, names_of_columns, write
from training.config import read_experiment
from training.data import prepare
from training.errors import TrainingError
from training.tables.naming import modality_name

N = 40
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "headers",
    [
        ["height_cm", "height_m"],
        ["temp [°C]", "temp [K]"],
        ["mass (kg)", "mass_g", "mass"],
        ["Age", "age", "AGE"],
        ["x.1", "x_1", "x 1"],
        ["Sepal.Length", "Sepal.Width"],
        ["größe_cm", "größe_m"],
        ["dose [mg]", "dose_mg"],
    ],
)
def test_columns_that_share_a_name_without_its_unit_keep_their_headers(
    tmp_path: Path, headers: list[str]
) -> None:
    path = write(tmp_path / "t.csv", {header: RNG.normal(size=N).round(3) for header in headers})
    columns = [column for view in modalities(path).values() for column in view["columns"]]
    names = [column["name"] for column in columns]
    assert len(set(names)) == len(headers)
    assert sorted(column.get("field", column["name"]) for column in columns) == sorted(headers)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Sex", "sex", "SEX"], ["sex", "sex_2", "sex_3"]),
        (["性別", "血液型"], ["xingbie", "xueyexing"]),
        (["Größe", "Ort"], ["grosse", "ort"]),
        (["all", "prior"], ["m_all", "m_prior"]),
        (["1st", "2nd"], ["m_1st", "m_2nd"]),
        (["a.b", "a_b"], ["a_b", "a_b_2"]),
    ],
)
def test_modalities_of_any_script_have_names_of_their_own(
    tmp_path: Path, headers: list[str], expected: list[str]
) -> None:
    columns: dict[str, Any] = {header: ["u", "v"] * (N // 2) for header in headers}
    views = modalities(write(tmp_path / "t.csv", columns))
    assert list(views) == expected
    assert [view["field"] for view in views.values()] == headers


def test_the_name_of_a_modality_is_at_most_64_characters() -> None:
    taken: set[str] = set()
    names = [modality_name("x" * 200, taken) for _ in range(3)]
    assert len(set(names)) == 3
    assert max(map(len, names)) <= 64


def test_two_columns_of_one_name_are_refused_in_an_experiment(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"a": RNG.normal(size=N), "b": RNG.normal(size=N)})
    text = guessed_text(path).replace('{name = "b"}', '{name = "a", field = "b"}')
    assert names_of_columns(tomllib.loads(text)["modalities"]["t"]) == ["a", "a"]
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises((TrainingError, ManifestError), match=r"modality 't': .*'a' occurs again"):
        prepare(read_experiment(str(tmp_path / "t.toml"))[0])


def test_two_columns_of_one_name_are_refused_in_a_manifest() -> None:
    fields = {"name": "x", "kind": "vector", "shape": (2,), "dtype": "float32", "likelihood": "normal"}
    with pytest.raises(ValueError, match="different names, 'a' occurs again"):
        Modality.model_validate({**fields, "columns": [{"name": "a"}, {"name": "a", "unit": "cm"}]})
