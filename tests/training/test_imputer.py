"""The estimator of scikit-learn: its interface, and the numbers of the service for the same bundle."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator

from models_store.folder import open_bundle
from service.app import create_app
from service.settings import Settings
from training import MultimodalImputer

ROWS = 120
CHEAP = {
    "fit.epochs": 40,
    "model.latent_dim": 4,
    "model.members": 1,
    "evaluation.importance_samples": 5,
    "evaluation.rows": 20,
    "evaluation.generated_per_label": 5,
}


def people() -> pd.DataFrame:
    """Two views of numbers and a label that share two causes; a tenth of the cells is missing."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(ROWS, 2))
    columns: dict[str, Any] = {
        f"{view}_{number}": causes @ rng.normal(size=2) + 0.3 * rng.normal(size=ROWS)
        for view in ("blood", "body")
        for number in range(3)
    }
    columns["kind"] = np.where(causes[:, 0] > 0, "high", "low")
    table = pd.DataFrame(columns)
    hidden = rng.random(table.shape) < 0.1
    hidden[:, 0] &= ~hidden[:, 1:].all(axis=1)  # every row has something
    return table.mask(hidden)


@pytest.fixture(scope="module")
def imputer() -> MultimodalImputer:
    return MultimodalImputer("_", changes=CHEAP, random_state=0).fit(people())


@pytest.fixture(scope="module")
def saved(imputer: MultimodalImputer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = imputer.save(tmp_path_factory.mktemp("store"))
    return folder


@pytest.fixture(scope="module")
def client(saved: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(store=saved.parents[1]))) as client:
        yield client


def rows_of(table: pd.DataFrame) -> dict[str, Any]:
    """The body of a request with these rows."""
    whole = table.astype(object).where(table.notna(), None)
    views = {
        view: [
            row if any(cell is not None for cell in row) else None
            for row in whole[[name for name in whole if name.startswith(f"{view}_")]].to_numpy().tolist()
        ]
        for view in ("blood", "body")
    }
    return {"inputs": {**views, "kind": whole["kind"].tolist()}}


def answer(client: TestClient, imputer: MultimodalImputer, body: dict[str, Any], query: str) -> Any:
    response = client.post(f"/generate?{query}&seed={imputer.seed_}", json=body)
    assert response.status_code == 200, response.text
    return response.json()["targets"]


def test_gaps_are_filled_and_what_is_there_stays(imputer: MultimodalImputer) -> None:
    table = people()
    filled = pd.DataFrame(imputer.transform(table), columns=imputer.get_feature_names_out())
    assert not filled.isna().to_numpy().any()
    there = table.notna().to_numpy()
    assert (filled.to_numpy()[there] == table.to_numpy()[there]).all()
    assert set(filled["kind"]) == {"high", "low"}


def test_filled_cells_are_those_of_the_service(imputer: MultimodalImputer, client: TestClient) -> None:
    table = people()
    filled = imputer.transform(table)
    targets = answer(client, imputer, rows_of(table), "gen_mod=all&fields=mean,probabilities")
    means = np.hstack([np.array(targets[view]["mean"]) for view in ("blood", "body")])
    gaps = table.iloc[:, :6].isna().to_numpy()
    assert filled[:, :6][gaps].astype(float) == pytest.approx(means[gaps], rel=1e-6)
    likeliest = np.array(targets["kind"]["probabilities"]).argmax(axis=1)
    unknown = table["kind"].isna().to_numpy()
    assert (filled[unknown, 6] == np.array(imputer.categories_["kind"])[likeliest[unknown]]).all()


def test_probabilities_are_those_of_the_service_given_the_other_views(
    imputer: MultimodalImputer, client: TestClient
) -> None:
    table = people()
    body = rows_of(table)
    del body["inputs"]["kind"]
    targets = answer(client, imputer, body, "gen_mod=kind&fields=probabilities")
    probabilities = imputer.predict_proba(table)
    assert probabilities == pytest.approx(np.array(targets["kind"]["probabilities"]), rel=1e-6)
    truth = people()["kind"].to_numpy()
    observed = pd.notna(truth)
    right = np.array(imputer.categories_["kind"])[probabilities.argmax(axis=1)] == truth
    assert right[observed].mean() > 0.75


def test_samples_are_joint_draws_of_the_seed_and_differ_in_gaps_alone(imputer: MultimodalImputer) -> None:
    table = people().head(30)
    first, second = imputer.sample(table, 2)
    there = table.notna().to_numpy()
    assert (first[there] == second[there]).all()
    numbers = ~there[:, :6]
    assert (first[:, :6][numbers] != second[:, :6][numbers]).all()
    again = imputer.sample(table, 2)
    assert (again[1] == second).all()


@pytest.mark.parametrize("keep", ["pickle", "copy", "load"])
def test_a_kept_estimator_gives_the_same_numbers(imputer: MultimodalImputer, saved: Path, keep: str) -> None:
    ways = {
        "pickle": lambda: pickle.loads(pickle.dumps(imputer)),  # noqa: S301 - of our own
        "copy": lambda: copy.deepcopy(imputer),
        "load": lambda: MultimodalImputer.load(saved),
    }
    kept, table = ways[keep](), people().head(20)
    assert (kept.transform(table) == imputer.transform(table)).all()
    assert (kept.sample(table, 1)[0] == imputer.sample(table, 1)[0]).all()
    assert list(kept.get_feature_names_out()) == list(table)


def test_views_are_those_of_the_mapping_or_the_prefix(imputer: MultimodalImputer, saved: Path) -> None:
    assert set(open_bundle(saved).manifest.names) == {"blood", "body", "kind"}
    mapped = MultimodalImputer({"mine": ["blood_0", "body_2"]})
    groups = mapped._groups(list(people()))
    assert groups == {"blood_0": "mine", "body_2": "mine"}
    with pytest.raises(ValueError, match="view 'mine' names the column 'bone', which X does not have"):
        MultimodalImputer({"mine": ["bone"]}).fit(people())
    assert clone(imputer).views == "_"


def test_arrays_without_names_are_filled_and_noise_is_said_to_be_noise() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[::5, 1] = np.nan
    cheap = {**CHEAP, "fit.epochs": 1}
    imputer = MultimodalImputer({"a": ["x0"], "b": ["x1", "x2"]}, changes=cheap, random_state=1)
    with pytest.warns(
        ConvergenceWarning, match="nothing is predicted from the rest of a row better than by its"
    ):
        filled = imputer.fit(x).transform(x)
    assert filled.dtype == float
    assert not np.isnan(filled).any()
    assert (filled[:, [0, 2]] == x[:, [0, 2]]).all()
    assert not hasattr(imputer, "predict_proba")  # there is no category
    assert list(imputer.get_feature_names_out()) == ["x0", "x1", "x2"]
    with pytest.raises(ValueError, match="X has 2 features, but MultimodalImputer is expecting 3"):
        imputer.transform(x[:, :2])


CAUSE = np.random.default_rng(2).normal(size=ROWS)
COLUMNS: dict[str, Any] = {
    "Int64": pd.array(np.arange(ROWS) % 7, dtype="Int64"),
    "boolean": pd.array(CAUSE > 0, dtype="boolean"),
    "bool": CAUSE > 0,
    "category": pd.Categorical(np.where(CAUSE > 0, "a", "b")),
    "text": np.where(CAUSE > 0, "a", "b"),
    "date": pd.date_range("2020", periods=ROWS),
    "duration": pd.to_timedelta(np.arange(ROWS), unit="s"),
    "period": pd.period_range("2020", periods=ROWS, freq="M"),
    "mixed": pd.Series([1, 2.5, "x", None] * (ROWS // 4), dtype=object),
    "sparse": pd.arrays.SparseArray(CAUSE),
}
TYPES = {  # of Arrow, without units and sizes of offsets
    "Int64": "int64",
    "boolean": "bool",
    "bool": "bool",
    "category": "dictionary",
    "text": "string",
    "date": "timestamp",
    "duration": "duration",
    "period": "string",
    "mixed": "string",
    "sparse": "double",
}


@pytest.mark.parametrize(("first", "second"), list(combinations(COLUMNS, 2)))
def test_columns_of_any_two_types_stand_side_by_side(first: str, second: str) -> None:
    frame = pd.DataFrame({"x": CAUSE, first: COLUMNS[first], second: COLUMNS[second]})
    if first not in ("bool", "sparse"):
        frame.loc[3, first] = None
    table = MultimodalImputer()._table(frame, reset=True)
    types = {one.name: re.split(r"[\[<]", str(one.type))[0].removeprefix("large_") for one in table.schema}
    assert types == {"x": "double", first: TYPES[first], second: TYPES[second]}
    assert table[first][3].as_py() is None or first in ("bool", "sparse")
    assert table[second].null_count == frame[second].isna().sum()


def test_a_frame_of_all_types_is_filled_and_dates_come_back_with_a_warning() -> None:
    frame = pd.DataFrame({"x": CAUSE, "y": 2 * CAUSE, **COLUMNS})
    frame.loc[5, ["x", "Int64", "boolean", "category"]] = None
    with pytest.warns(UserWarning, match="left out of the model: date: holds dates or times"):
        imputer = MultimodalImputer(changes={**CHEAP, "fit.epochs": 10}, random_state=0).fit(frame)
    filled = pd.DataFrame(imputer.transform(frame), columns=list(frame))
    assert {"date", "period"} <= {*imputer.left_out_}
    assert (filled["date"] == frame["date"]).all()
    assert filled.loc[5, "category"] in ("a", "b")
    assert filled.loc[5, ["x", "Int64", "boolean"]].notna().all()
    frame["x"] = frame["x"].astype(object)
    frame.loc[7, "x"] = "tall"
    with pytest.raises(ValueError, match=r"row 7 .*column 'x'.*'tall'"):
        imputer.transform(frame)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (CAUSE * 1j, "column 'c' holds complex128; convert it to numbers, text, truth values or times"),
        (
            np.where(CAUSE > 2, np.inf, CAUSE),
            r"column 'c' has an infinity in row \d+ \(counted from 0\); write",
        ),
    ],
)
def test_a_column_that_cannot_be_read_is_a_value_error_with_its_name(values: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        MultimodalImputer().fit(pd.DataFrame({"x": CAUSE, "c": values}))


def test_a_frame_has_enough_rows_and_no_column_twice() -> None:
    with pytest.raises(ValueError, match="minimum of 10 is required"):
        MultimodalImputer().fit(people().head(4))
    with pytest.raises(ValueError, match="X has the column 'x' more than once; give each column a name"):
        MultimodalImputer().fit(pd.DataFrame(np.zeros((20, 2)), columns=["x", "x"]))


def test_what_cannot_be_learned_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="minimum of 10 is required"):
        MultimodalImputer().fit(np.zeros((4, 2)))
    with pytest.raises(NotFittedError):
        MultimodalImputer().transform(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"unknown key 'fit\.epoch'"):
        MultimodalImputer(changes={"fit.epoch": 3}).fit(people())


CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_estimators_unfitted",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_transformers_unfitted",
)
"""Checks of scikit-learn that fit nothing; the others take minutes, since each fit exports its graphs."""


def test_the_interface_passes_the_checks_of_scikit_learn() -> None:
    checks = [
        (estimator, check)
        for estimator, check in estimator_checks_generator(MultimodalImputer())
        if check.func.__name__ in CHECKS
    ]
    assert {check.func.__name__ for _, check in checks} == set(CHECKS)
    for estimator, check in checks:
        check(estimator)


def test_output_may_be_a_data_frame(imputer: MultimodalImputer) -> None:
    framed = copy.deepcopy(imputer).set_output(transform="pandas").transform(people().head(4))
    assert list(framed.columns) == list(people())
