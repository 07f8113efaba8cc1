"""/openapi.json, typed by the models that are loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from models_store.kinds import MEDIA
from service.app import create_app
from service.settings import Settings
from tests.service.kinds import described

Operation = dict[str, Any]


@pytest.fixture(scope="module")
def document(kinds: TestClient) -> dict[str, Any]:
    return dict(kinds.get("/openapi.json").json())


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    return (operation for methods in document["paths"].values() for operation in methods.values())


def test_every_modality_is_a_field_with_its_shape_labels_and_units(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    form, inputs = (schemas[f"kinds.{name}"]["properties"] for name in ("Form", "Inputs"))
    assert list(form) == list(inputs) == list(described().names)
    assert form["image"]["items"] == {"type": "string", "format": "binary"}
    assert form["image"]["x-modality"]["shape"] == [6, 4]
    assert form["image"]["x-modality"]["dtype"] == "uint8"
    assert schemas["kinds.animal.Row"] == {"type": "string", "enum": ["cat", "dog", "owl"]}
    assert list(schemas["kinds.body.Row"]["properties"]) == ["height", "mass", "age"]
    assert inputs["animal"]["examples"] == [["cat"]]
    assert set(schemas["kinds.Generated"]["properties"]["targets"]["properties"]) == set(inputs)


@pytest.mark.parametrize("path", ["/encode", "/generate", "/score"])
def test_the_default_model_and_a_named_one_are_described_alike(document: dict[str, Any], path: str) -> None:
    default, named = (document["paths"][one]["post"] for one in (path, f"/models/kinds{path}"))
    assert default["operationId"] == path[1:]
    assert named["operationId"] == f"kinds_{path[1:]}"
    for part in ("parameters", "requestBody", "responses"):
        assert default[part] == named[part]
    assert set(named["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
        "application/x-npz",
        "application/octet-stream",
        "text/csv",
    }


def test_operation_ids_are_all_different(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in operations(document)]
    assert len(set(ids)) == len(ids)


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    requested = document["paths"]["/models/kinds/encode"]["post"]["responses"]
    assert {"400", "401", "404", "406", "408", "413", "415", "422", "429", "500", "503"} <= set(requested)
    for operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400" and operation["operationId"] not in ("livez", "readyz"):
                content = response["content"]
                assert list(content) == ["application/problem+json"], (operation["operationId"], status)
                assert content["application/problem+json"]["schema"] == {
                    "$ref": "#/components/schemas/Problem"
                }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (value for key, value in node.items() if key == "$ref")
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                yield from references(child)

    actual = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert actual <= set(document["components"]["schemas"])
    assert "contentMediaType" not in json.dumps(document)


def test_every_form_of_an_answer_is_told(document: dict[str, Any]) -> None:
    answer = document["paths"]["/generate"]["post"]["responses"]["200"]["content"]
    assert {"image/png", "audio/wav"} <= MEDIA.keys()
    assert set(answer) == {
        "application/json",
        "application/x-npz",
        *MEDIA,
        "application/zip",
        "text/csv",
    }
    assert answer["audio/wav"]["schema"] == {"type": "string", "format": "binary"}


def test_what_is_answered_is_what_is_described(kinds: TestClient, document: dict[str, Any]) -> None:
    """Names of fields, and how deep their arrays are."""
    schemas = document["components"]["schemas"]
    body = {"inputs": {"animal": ["cat"], "body": [[1, 2, 3]]}}
    for question, name in {"encode": "Encoded", "generate?K=5": "Generated", "score?K=5": "Scored"}.items():
        _assert_fits(kinds.post(f"/{question}", json=body).json(), schemas[f"kinds.{name}"])


def _assert_fits(value: Any, schema: dict[str, Any]) -> None:
    schema = schema.get("anyOf", [schema])[0]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    match value:
        case dict():
            assert set(schema.get("required", ())) <= set(value) <= set(schema["properties"])
            for name, child in value.items():
                _assert_fits(child, schema["properties"][name])
        case list():
            assert kinds == ["array"]
            assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
            for child in value:
                _assert_fits(child, schema["items"])
        case bool():
            assert kinds == ["boolean"]
        case None:
            assert "null" in kinds
        case str():
            assert kinds == ["string"]
            assert value in schema.get("enum", [value])
        case _:
            assert set(kinds) & {"number", "integer"}


def test_a_keyed_service_says_so(bundle_folder: Path) -> None:
    settings = Settings(store=str(bundle_folder.parents[1]), api_keys=["one-of-the-keys"])
    with TestClient(create_app(settings)) as client:
        document = client.get("/openapi.json", headers={"authorization": "Bearer one-of-the-keys"}).json()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}
    assert document["paths"]["/livez"]["get"]["security"] == []


def test_without_a_model_the_questions_are_described_all_the_same(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(store=str(tmp_path)))) as client:
        paths = client.get("/openapi.json").json()["paths"]
    assert {"/encode", "/models/{name}/score"} <= set(paths)
    assert all(parameter["in"] == "query" for parameter in paths["/encode"]["post"]["parameters"])


def test_a_model_that_comes_is_described(bundle_folder: Path, tmp_path: Path) -> None:
    store = shutil.copytree(bundle_folder.parents[1], tmp_path / "store")
    with TestClient(create_app(Settings(store=str(store), allow_loading=True))) as client:
        assert "/models/tiny/encode" in client.get("/openapi.json").json()["paths"]
        client.post("/models/tiny/unload")
        assert "/models/tiny/encode" not in client.get("/openapi.json").json()["paths"]
