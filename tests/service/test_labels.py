"""An integer means one label in every media type, in requests and in answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.models_store.examples import category
from tests.service.asking import ask, inputs, npy, npz, parts, table
from tests.service.kinds import publish

INFER = "/v2/models/kinds/infer"


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A model of two categories: ``label`` from 1 to 5, ``word`` without integers."""
    store: Path = tmp_path_factory.mktemp("scale")
    word = category("low", "high").model_copy(update={"name": "word"})
    publish(store, [category("1", "2", "3", "4", "5"), word])
    with TestClient(create_app(Settings(store=store))) as client:
        yield client


FORMS: dict[str, dict[str, Any]] = {
    "JSON integers": inputs(label=[1, 4, 5]),
    "JSON floats": inputs(label=[1.0, 4.0, 5.0]),
    "JSON texts": inputs(label=["1", "4.0", "5"]),
    "a form": parts(label=[b"1", b"4", b"5.0"]),
    "a form of an array": parts(label=npy(np.array([1, 4, 5]))),
    "npz": npz(label=np.array([1, 4, 5])),
    "npz of floats": npz(label=np.array([1, 4, 5.0])),
    "npz of texts": npz(label=np.array(["1", "4.0", "5"])),
    "npz of bytes": npz(label=np.array([b"1", b"4", b"5"])),
    "npz of texts in other byte order": npz(label=np.array(["1", "4", "5"], ">U4")),
    "a form of an array of texts": parts(label=npy(np.array(["1", "4", "5"]))),
    "a table": table("label\n1\n4\n5.0\n"),
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_an_integer_is_the_label_that_reads_so(scale: TestClient, body: dict[str, Any]) -> None:
    by_text = ask(scale, "/encode", **inputs(label=["1", "4", "5"]))["mu"]
    assert len({tuple(row) for row in by_text}) == 3
    assert ask(scale, "/encode", **body)["mu"] == by_text


@pytest.mark.parametrize("datatype", ["INT64", "INT8", "UINT16"])
def test_an_integer_tensor_holds_labels(scale: TestClient, datatype: str) -> None:
    tensor = {"name": "label", "shape": [3], "datatype": datatype, "data": [1, 4, 5]}
    answer = ask(scale, INFER, json={"inputs": [tensor], "outputs": [{"name": "mu"}]})
    expected = np.ravel(ask(scale, "/encode", **inputs(label=["1", "4", "5"]))["mu"])
    np.testing.assert_allclose(answer["outputs"][0]["data"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "body", [inputs(label=[0]), inputs(label=[6]), npz(label=np.array([0])), table("label\n6\n")]
)
def test_an_integer_that_is_no_label_is_refused_with_the_labels(
    scale: TestClient, body: dict[str, Any]
) -> None:
    response = scale.post("/encode", **body)
    assert response.status_code == 422
    assert "'1', '2', '3', '4', '5'" in response.json()["detail"]


def test_labels_of_any_script_are_read_from_an_array_of_text(tmp_path: Path) -> None:
    labels = ("sea, deep", "zażółć", "雪", "🦉", "it's")
    publish(tmp_path, [category(*labels), category("a", "b").model_copy(update={"name": "word"})])
    with TestClient(create_app(Settings(store=tmp_path))) as client:
        expected = ask(client, "/encode", **inputs(label=[*labels, None], word=["b"] * 6))["mu"]
        masked = {"mask.label": np.array([True] * 5 + [False]), "word": np.array(["b"] * 6)}
        for array in (np.array([*labels, ""]), np.array([label.encode() for label in [*labels, ""]])):
            assert ask(client, "/encode", **npz(label=array, **masked))["mu"] == expected


@pytest.mark.parametrize(
    ("array", "status", "message"),
    [
        (np.array(["low", "no"]), 422, "must be a label ('low', 'high') or an index from 0 to 1, got 'no'"),
        (np.array(["low", ""]), 422, "got ''"),
        (
            np.array([["low"], ["high"]]),
            422,
            "labels must have the shape (rows,), got an array of shape (2, 1)",
        ),
        (np.array("low"), 422, "shape (rows,), got an array of shape ()"),
        (np.array([b"\xff\xfe", b"low"]), 422, "labels must be text in Unicode or UTF-8"),
        (np.frombuffer(b"\xff" * 8, "<U1"), 422, "labels must be text in Unicode or UTF-8"),
        (np.array(["low"] * 100_000), 413, "rows"),
    ],
)
def test_other_arrays_of_text_are_refused(
    scale: TestClient, array: np.ndarray, status: int, message: str
) -> None:
    answer = scale.post("/encode", **npz(word=array))
    assert answer.status_code == status
    assert message in answer.json()["detail"]


def test_text_is_for_categories_alone(scale: TestClient) -> None:
    answer = scale.post("/encode", **npz(**{"mask.word": np.array(["a"]), "word": np.array(["low"])}))
    assert answer.status_code == 422
    assert "must be boolean" in answer.json()["detail"]


def test_an_integer_is_an_index_where_labels_are_words(scale: TestClient) -> None:
    mu = ask(scale, "/encode", **inputs(word=["low", "high"]))["mu"]
    assert ask(scale, "/encode", **inputs(word=[0, 1]))["mu"] == mu
    assert ask(scale, "/encode", **npz(word=np.array([0, 1])))["mu"] == mu


def test_samples_sent_back_are_the_same_labels(scale: TestClient) -> None:
    path = "/generate?gen_mod=all&fields=samples&noise=true&N=40&seed=3"
    targets = ask(scale, path, **inputs(word=["low"]))["targets"]
    assert {*targets["label"]["samples"][0]} <= {1, 2, 3, 4, 5}
    assert 5 in targets["label"]["samples"][0]
    assert {*targets["word"]["samples"][0]} == {0, 1}
    archive = np.load(io.BytesIO(ask(scale, path, accept="application/x-npz", **inputs(word=["low"]))))
    assert archive["targets.label.samples"].tolist() == targets["label"]["samples"]


def test_samples_of_a_tensor_are_integers_of_labels(scale: TestClient) -> None:
    word = {"name": "word", "shape": [1], "datatype": "BYTES", "data": ["low"]}
    body = {
        "inputs": [word],
        "outputs": [{"name": "label.samples"}],
        "parameters": {"noise": True, "N": 40, "seed": 3},
    }
    path = "/generate?gen_mod=all&fields=samples&noise=true&N=40&seed=3"
    samples = ask(scale, path, **inputs(word=["low"]))["targets"]["label"]["samples"]
    assert ask(scale, INFER, json=body)["outputs"][0]["data"] == samples[0]


def test_openapi_lists_the_integers(scale: TestClient) -> None:
    text = scale.get("/openapi.json").text
    assert '"type":"integer","enum":[1,2,3,4,5]' in text


@pytest.mark.parametrize(
    ("first", "second"), [("", ""), ("0", "1"), ("1", "2")], ids=["[]", "from 0", "from 1"]
)
def test_names_of_lists_may_end_with_brackets(scale: TestClient, first: str, second: str) -> None:
    """As axios and PHP write lists, and generated clients for PHP."""
    form = parts(label=[b"1", b"5"])["files"]
    plain = scale.post("/generate?gen_mod=label&gen_mod=word&seed=1", files=form)
    body = [(f"{name}[{index}]", part) for (name, part), index in zip(form, (first, second), strict=True)]
    if first:
        body.reverse()  # the positions decide
    query = f"/generate?gen_mod[{first}]=label&gen_mod%5B{second}%5D=word&seed=1"
    marked = scale.post(query, files=body)
    assert (plain.status_code, marked.status_code) == (200, 200)
    assert {**marked.json(), "request_id": ""} == {**plain.json(), "request_id": ""}
    refused = scale.post("/generate?K[]=2", files=body)
    assert refused.json()["detail"] == "unknown parameter 'K[]'"


@pytest.mark.parametrize("text", ['["1", "5"]', "1,5"], ids=["JSON", "commas"])
def test_a_part_may_hold_a_list_of_labels(scale: TestClient, text: str) -> None:
    """As the clients write it that openapi-generator makes for Rust and C#."""
    query = "/generate?gen_mod=label&seed=1"
    plain = scale.post(query, files=parts(label=[b"1", b"5"])["files"])
    joined = scale.post(query, files=parts(label=[text.encode()])["files"])
    assert (plain.status_code, joined.status_code) == (200, 200)
    assert {**joined.json(), "request_id": ""} == {**plain.json(), "request_id": ""}


def test_a_list_of_too_many_labels_is_refused_before_it_is_read(scale: TestClient) -> None:
    for text in (b"1," * 20_000 + b"5", b'["1"' + b', "5"' * 20_000 + b"]"):
        refused = scale.post("/generate", files=parts(label=[text])["files"])
        assert refused.status_code == 413
        assert "20000 rows are more than the 10000" in refused.text
