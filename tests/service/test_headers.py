"""Headers of the training table name modalities and columns in every media type, as their names do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from models_store.kinds.fields import Column
from service.app import create_app
from service.settings import Settings
from tests.models_store.examples import array, category, image, mixed_table
from tests.service.asking import SEVEN, ask, inputs, npz, parts
from tests.service.kinds import publish

SEX, BLOOD, HEIGHT, AGE = "性別", "Blood Type (ABO)", "Height [cm]", "Age (1-99)"
NAMED: dict[str, list[Any]] = {"m": ["f"], "blood_type": ["0"], "body": [{"height": 172, "mass": 60}]}
HEADED: dict[str, list[Any]] = {SEX: ["f"], BLOOD: ["0"], "body": [{HEIGHT: 172, "mass": 60}]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store: Path = tmp_path_factory.mktemp("headers")
    columns = (Column(name="height", field=HEIGHT), Column(name="mass"))
    years = (Column(name="years", field=AGE),)
    views = [
        category("f", "m").model_copy(update={"name": "m", "field": SEX}),
        category("0", "A", "B").model_copy(update={"name": "blood_type", "field": BLOOD}),
        array("vector", 2).model_copy(update={"name": "body", "columns": columns}),
        array("vector", 1).model_copy(update={"name": "survey", "columns": years}),
        image(28, 28).model_copy(update={"field": "photo"}),
    ]
    publish(store, views)
    with TestClient(create_app(Settings(store=store))) as client:
        yield client


FORMS: dict[str, dict[str, Any]] = {
    "JSON": inputs(**HEADED),
    "JSON in which blanks differ": inputs(**{f" {SEX}": ["f"], BLOOD: ["0"], "body": NAMED["body"]}),
    "a form": parts(**{SEX: b"f", BLOOD: b"0", "body": f'{{"{HEIGHT}": 172, "mass": 60}}'.encode()}),
    "a form with a table": parts(**{SEX: b"f", BLOOD: b"0", "body": f"mass,{HEIGHT}\n60,172\n".encode()}),
    "npz": npz(
        **{SEX: ["f"], BLOOD: ["0"], "body": np.array([[172.0, 60]]), f"mask.{SEX}": np.array([True])}
    ),
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_a_header_is_its_modality(client: TestClient, body: dict[str, Any]) -> None:
    expected = ask(client, "/encode?seed=1", **inputs(**NAMED))
    assert ask(client, "/encode?seed=1", **body) == expected


@pytest.mark.parametrize("row", [70, [70], {"years": 70}, {AGE: 70}])
@pytest.mark.parametrize("name", ["survey", AGE])
def test_a_header_is_its_vector_of_one_column_and_a_number_its_row(
    client: TestClient, name: str, row: Any
) -> None:
    expected = ask(client, "/encode?seed=1", **inputs(survey=[[70], None], m=[None, "f"]))
    assert ask(client, "/encode?seed=1", **inputs(**{name: [row, None], "m": [None, "f"]})) == expected


def test_a_header_names_a_tensor(client: TestClient) -> None:
    tensor = {"name": SEX, "shape": [1], "datatype": "BYTES", "data": ["f"]}
    answer = ask(client, "/v2/models/kinds/infer", json={"inputs": [tensor], "outputs": [{"name": "mu"}]})
    expected = ask(client, "/encode?seed=1", **inputs(m=["f"]))
    assert answer["outputs"][0]["data"] == pytest.approx(np.ravel(expected["mu"]))


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_headers_are_targets_and_conditions(client: TestClient, accept: str) -> None:
    sent = {"accept": accept, **inputs(m=["f"], body=NAMED["body"])}
    by_header = ask(client, f"/generate?seed=1&cond_mod={SEX}&gen_mod={BLOOD}", **sent)
    assert by_header == ask(client, "/generate?seed=1&cond_mod=m&gen_mod=blood_type", **sent)
    assert "blood_type" in (by_header["targets"] if accept == "application/json" else by_header.decode())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "the name and the header": (inputs(**{SEX: ["f"], "m": ["f"]}), "sent twice"),
    "the name and the header in a form": (parts(**{SEX: b"f", "m": b"f"}), "sent twice"),
    "two names of a column": (inputs(body=[{"height": 1, HEIGHT: 2}]), "named twice"),
    "another header": (inputs(**{"Blood Type": ["0"]}), "unknown modality 'Blood Type'"),
    "the column that names pictures": (parts(photo=SEVEN), "unknown modality 'photo'"),
}


@pytest.mark.parametrize(("body", "message"), REFUSED.values(), ids=REFUSED)
def test_one_of_them_at_a_time(client: TestClient, body: dict[str, Any], message: str) -> None:
    response = client.post("/encode", **body)
    assert response.status_code == 422
    assert message in response.text


def test_headers_name_the_columns_of_a_table_kind(tmp_path: Path) -> None:
    mixed = mixed_table()
    first, *others = mixed.columns or ()
    headed = (first.model_copy(update={"field": "Pulse (1/min)"}), *others)
    publish(tmp_path, [mixed.model_copy(update={"columns": headed})])
    with TestClient(create_app(Settings(store=tmp_path))) as client:
        expected = ask(client, "/encode?seed=1", **inputs(**{mixed.name: [{first.name: 60}]}))
        assert ask(client, "/encode?seed=1", **inputs(**{mixed.name: [{"Pulse (1/min)": 60}]})) == expected
        assert ask(client, "/encode?seed=1", **parts(**{mixed.name: b"Pulse (1/min)\n60\n"})) == expected
