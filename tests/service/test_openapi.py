"""/openapi.json, typed by the models that are loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from models_store.kinds import MEDIA
from service.app import STATUS, create_app
from service.http.problems import BY_STATUS, type_of
from service.openapi import describe
from service.openapi.operations import components
from service.settings import Settings
from tests.models_store.examples import manifest, mixed_table, with_columns
from tests.service.kinds import described

Operation = dict[str, Any]


@pytest.fixture(scope="module")
def document(kinds: TestClient) -> dict[str, Any]:
    return dict(kinds.get("/openapi.json").json())


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    return (operation for methods in document["paths"].values() for operation in methods.values())


def test_every_modality_is_a_field_with_its_shape_labels_and_units(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    form, inputs = (schemas[f"Kinds{name}"]["properties"] for name in ("Form", "Inputs"))
    assert list(form) == list(inputs) == list(described().names)
    assert form["image"]["items"] == {"type": "string", "format": "binary"}
    assert form["image"]["x-modality"]["shape"] == [6, 4]
    assert form["image"]["x-modality"]["dtype"] == "uint8"
    assert form["animal"]["items"] == {"type": "string", "x-labels": ["cat", "dog", "owl"]}
    assert form["animal"]["x-modality"]["labels"] == ["cat", "dog", "owl"]
    assert list(schemas["KindsBodyRow"]["properties"]) == ["height", "mass", "age"]
    assert inputs["animal"]["examples"] == [["cat"]]
    assert set(schemas["KindsGenerated"]["properties"]["targets"]["properties"]) == set(inputs)


@pytest.mark.parametrize("path", ["/encode", "/generate", "/score"])
def test_the_default_model_and_a_named_one_are_described_alike(document: dict[str, Any], path: str) -> None:
    default, named = (document["paths"][one]["post"] for one in (path, f"/models/kinds{path}"))
    assert default["operationId"] == path[1:]
    assert named["operationId"] == f"kinds_{path[1:]}"
    for part in ("parameters", "requestBody", "responses"):
        assert default[part] == named[part]


def test_lists_of_files_and_labels_are_parts_of_their_own(document: dict[str, Any]) -> None:
    """By default a list of texts may be joined by commas, and clients for Ruby do so with files."""
    content = document["paths"]["/models/kinds/generate"]["post"]["requestBody"]["content"]
    encoding = content["multipart/form-data"]["encoding"]
    assert set(encoding) == set(described().names) - {"body", "visit", "patient"}, "objects are parts in JSON"
    assert all(one == {"style": "form", "explode": True} for one in encoding.values())


@pytest.mark.parametrize("path", ["/encode", "/generate", "/models/{name}/score", "/models/kinds/generate"])
def test_every_way_of_sending_has_an_operation_of_its_own(document: dict[str, Any], path: str) -> None:
    """With one media type of the request and one of the response, which generators need."""
    plain = document["paths"][path]["post"]["operationId"]
    sent = {"": "multipart/form-data", "/json": "application/json", "/csv": "text/csv"}
    for suffix, media in {**sent, "/npz": "application/octet-stream"}.items():
        one = document["paths"][path + suffix]["post"]
        assert one["operationId"] == plain + suffix.replace("/", "_")
        assert list(one["requestBody"]["content"]) == [media]
        assert list(one["responses"]["200"]["content"]) == ["application/json"]
        # A form may have no parts: without rows, cond_mod=none draws from the prior.
        assert one["requestBody"]["required"] is (suffix != "" or path.endswith("score"))


def test_no_schema_has_the_name_that_generators_give_to_parts_of_an_operation(
    document: dict[str, Any],
) -> None:
    parts = ("request", "params", "data", "body", "response", "responses", "error", "errors")
    ids = {operation["operationId"].replace("_", "") for operation in operations(document)}
    schemas = {name.lower() for name in document["components"]["schemas"]}
    assert all(name.isalnum() for name in schemas), "some generators make modules of dots"
    assert len(schemas) == len(document["components"]["schemas"])
    assert not schemas & {name + part for name in ids for part in ("", *parts)}
    for operation in operations(document):
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [response.get("content", {}) for response in operation["responses"].values()]
        for content in (media for one in contents for media in one.values()):
            schema = content["schema"]
            assert "$ref" in schema or "properties" not in schema, operation["operationId"]


def test_models_whose_names_join_to_one_have_schemas_and_operations_of_different_names() -> None:
    models = [described().model_copy(update={"name": name}) for name in ("a_1", "a1", "any_model")]
    document = describe(FastAPI.openapi(create_app(Settings())), models, None, keyed=False)
    schemas = document["components"]["schemas"]
    assert len({name.lower() for name in schemas}) == len(schemas)
    for name in ("A1", "A1Model2", "AnyModelModel2", "AnyModel"):
        assert f"{name}Form" in schemas
    ids = [operation["operationId"].replace("_", "") for operation in operations(document)]
    assert len(set(ids)) == len(ids)


def test_rows_whose_names_join_to_one_have_schemas_of_different_names() -> None:
    models = [
        manifest(
            name=name, modalities=[with_columns("age").model_copy(update={"name": view}) for view in views]
        )
        for name, views in {"c": ("a_b", "ab"), "c_a": ("b", "x")}.items()
    ]
    document = describe(FastAPI.openapi(create_app(Settings())), models, None, keyed=False)
    rows = {name for name in document["components"]["schemas"] if "Row" in name}
    assert rows == {"CABRow", "CAbRow2", "CABRow3", "CAXRow"}


@pytest.mark.parametrize(
    "names", [("a b", "A-B"), ("年", "月"), ("größe", "gre")], ids=["joined", "lost", "part"]
)
def test_columns_that_make_one_identifier_are_described_by_an_open_object(names: tuple[str, str]) -> None:
    """Generators make an identifier of each property by its letters of ASCII; of these, two alike or none."""
    table = mixed_table()
    first, second, *rest = table.columns or ()
    renamed = [
        column.model_copy(update={"name": name}) for column, name in zip((first, second), names, strict=True)
    ]
    views = [with_columns(*names), table.with_changes({"columns": (*renamed, *rest)})]
    schemas = components("m", manifest(name="m", modalities=views))
    assert not [name for name in schemas if "Row" in name]
    form, inputs, generated = (schemas[f"M{name}"]["properties"] for name in ("Form", "Inputs", "Generated"))
    assert {view["items"]["format"] for view in form.values()} == {"binary"}
    assert [view["items"]["additionalProperties"] for view in inputs.values()] == [
        {"type": ["number", "null"]},
        {},
    ]
    columns = generated["targets"]["properties"]["patient"]["properties"]["columns"]
    assert columns == {"type": "object", "additionalProperties": {"type": "object"}}


def test_no_list_of_lists_holds_an_enumeration_and_no_array_lacks_its_items(document: dict[str, Any]) -> None:
    def check(node: Any, depth: int = 0) -> None:
        if isinstance(node, dict):
            kind = node.get("type", [])
            if "array" in ([kind] if isinstance(kind, str) else kind):
                assert isinstance(node["items"], dict)
                check(node["items"], depth + 1)
            else:
                assert depth < 2 or "enum" not in node
            node = [value for key, value in node.items() if key not in ("items", "x-also", "x-modality")]
            depth = 0
        for child in node if isinstance(node, list) else ():
            check(child, depth)

    check(document["components"]["schemas"])
    check([operation.get("parameters", []) for operation in operations(document)])


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    resolver = {"$defs": {}, "components": document["components"]}
    shown = 0
    for schema in document["components"]["schemas"].values():
        for example in (schema, *schema.get("properties", {}).values()):
            for value in example.get("examples", ()):
                jsonschema_rs.Draft202012Validator({**resolver, **example}).validate(value)
                shown += 1
    assert shown > 5


def test_the_server_of_the_document_is_the_root_of_the_service(document: dict[str, Any]) -> None:
    assert [server["url"] for server in document["servers"]] == ["/"]


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


def test_every_kind_of_error_has_a_type(document: dict[str, Any]) -> None:
    types = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert {type_of(kind.__new__(kind)) for kind in STATUS} | {*BY_STATUS.values()} <= {*types}
    assert len({*types}) == len(types)


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


def test_every_media_type_of_a_response_is_named(document: dict[str, Any]) -> None:
    words = document["paths"]["/generate"]["post"]["description"]
    assert {"image/png", "audio/wav"} <= MEDIA.keys()
    for media in ("application/x-npz", *MEDIA, "application/zip", "text/csv"):
        assert f"`{media}`" in words


def test_what_is_answered_is_what_is_described(kinds: TestClient, document: dict[str, Any]) -> None:
    """Names of fields, and how deep their arrays are."""
    schemas = document["components"]["schemas"]
    body = {"inputs": {"animal": ["cat"], "body": [[1, 2, 3]]}}
    for question, name in {"encode": "Encoded", "generate?K=5": "Generated", "score?K=5": "Scored"}.items():
        _assert_fits(kinds.post(f"/{question}", json=body).json(), schemas[f"Kinds{name}"])


def _assert_fits(value: Any, schema: dict[str, Any]) -> None:
    schema = schema.get("anyOf", [schema])[0]
    if not schema:
        return  # any value, such as a sample of a category
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
