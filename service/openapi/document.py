"""The whole document: the framework's description of its paths, and the operations of every loaded model."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from models_store.manifest import Manifest
from service.http.security import OPEN
from service.openapi.errors import problem
from service.openapi.operations import OPERATIONS, components, operation
from service.schemas import Problem

Document = dict[str, Any]

TAG = "questions"
"""Tag of the operations; generated clients name a module by it."""

ABOUT = """Any view in, any view out: send the modalities that you have, get the others.

Every model has its own operations, with its modalities as fields. The default model answers `/encode`,
`/generate` and `/score`. Paths under `/v2` follow the Open Inference Protocol v2, which has its own
description."""


def describe(
    framework: Document, manifests: Iterable[Manifest], default: Manifest | None, keyed: bool
) -> Document:
    """Returns an OpenAPI 3.1 document.

    Arguments:
        framework: The framework's document, with all other paths.
        manifests: Manifests of the loaded models.
        default: Manifest of the default model, if any.
        keyed: Whether requests need a key.
    """
    document = copy.deepcopy(framework)
    document["info"]["description"] = ABOUT
    loaded = list(manifests)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema()
    for manifest in loaded:
        schemas |= components(manifest)
    for described in (one for methods in document["paths"].values() for one in methods.values()):
        _correct_errors(described)
        _correct_path(described)
    document["paths"] = {**dict(_inference(loaded, default)), **document["paths"]}
    for described in (one for methods in document["paths"].values() for one in methods.values()):
        _add_example_name(described, loaded)
    tags = {TAG: "Requests to the default model, or to any."} | {m.name: m.description for m in loaded}
    document["tags"] = [{"name": name, "description": description} for name, description in tags.items()]
    if keyed:
        _require_key(document)
    return document


def _inference(loaded: Iterable[Manifest], default: Manifest | None) -> Iterator[tuple[str, Document]]:
    """Yields the paths of the default model, of any named model, and of each loaded model."""
    for kind in OPERATIONS:
        described = operation(kind, kind.name, TAG, default)
        described["parameters"] = [one for one in described["parameters"] if one["in"] != "path"]
        yield f"/{kind.name}", {"post": described}
    for kind in OPERATIONS:
        generic = operation(kind, f"{kind.name}_with", TAG, None)
        yield f"/models/{{name}}/{kind.name}", {"post": generic}
    for manifest in loaded:
        for kind in OPERATIONS:
            described = operation(kind, f"{manifest.name}_{kind.name}", manifest.name, manifest)
            yield f"/models/{manifest.name}/{kind.name}", {"post": described}


def _correct_errors(described: Document) -> None:
    """Describes all errors as problems, not in the framework's own form; adds the statuses 401 and 500."""
    responses = described.setdefault("responses", {})
    for status, response in responses.items():
        if status >= "400" and not _is_health(response):
            responses[status] = problem(int(status))
    for status in (401, 500):
        responses.setdefault(str(status), problem(status))


def _correct_path(described: Document) -> None:
    """Makes a parameter of the path text: the framework takes the type of an optional one."""
    for parameter in described.get("parameters", []):
        if parameter["in"] == "path" and "anyOf" in parameter["schema"]:
            parameter["schema"] = {"type": "string"}


def _add_example_name(described: Document, loaded: Sequence[Manifest]) -> None:
    """Adds the name of a loaded model as an example of the parameter ``name``."""
    for parameter in described.get("parameters", []):
        if loaded and parameter["in"] == "path" and parameter["name"] == "name":
            parameter["example"] = loaded[0].name


def _is_health(response: Mapping[str, Any]) -> bool:
    """Whether a response has the schema of the health checks, whose errors are no problems."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return bool(schema.get("$ref", "").endswith("/Health"))


def _require_key(document: Document) -> None:
    """Adds that requests need a key, except to open paths."""
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    for path in OPEN & document["paths"].keys():
        for one in document["paths"][path].values():
            one["security"] = []
