"""The whole document: the framework's description of its paths, and the operations of every loaded model."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from models_store.manifest import Manifest
from service.http.security import OPEN
from service.openapi.errors import problem
from service.openapi.operations import ANY, OPERATIONS, SENDINGS, components, generic_components, operation
from service.schemas import Problem

Document = dict[str, Any]

TAG = "questions"
"""Tag of the operations; generated clients name a module by it."""
TAGS = {
    TAG: "Requests to the default model, or to any.",
    "models": "Loaded models and their files.",
    "health": "Health and metrics of the service.",
}

ABOUT = """Any view in, any view out: send the modalities that you have, get the others.

Every model has its own operations, with its modalities as fields, and one for each way of sending:
`/encode` takes files and texts as a form, `/encode/json` rows, `/encode/npz` arrays, `/encode/csv` a table.
The plain path accepts the other media types too. The default model answers `/encode`, `/generate` and
`/score`. Paths under `/v2` follow the Open Inference Protocol v2, which has its own description."""


def describe(
    framework: Document,
    manifests: Iterable[Manifest],
    default: Manifest | None,
    keyed: bool,
    root_path: str = "",
) -> Document:
    """Returns an OpenAPI 3.1 document.

    Arguments:
        framework: The framework's document, with all other paths.
        manifests: Manifests of the loaded models.
        default: Manifest of the default model, if any.
        keyed: Whether requests need a key.
        root_path: Prefix of the paths, where a proxy puts one before them.
    """
    document = copy.deepcopy(framework)
    document["info"] |= {"description": ABOUT, "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"}}
    document["servers"] = [{"url": root_path or "/"}]
    loaded = list(manifests)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema()
    schemas |= generic_components()
    prefixes = unique_prefixes([manifest.name for manifest in loaded])
    for manifest in loaded:
        schemas |= components(prefixes[manifest.name], manifest, schemas)
    for described in (one for methods in document["paths"].values() for one in methods.values()):
        _correct_errors(described)
        _correct_path(described)
    document["paths"] = {**dict(_inference(loaded, prefixes, default)), **document["paths"]}
    for described in (one for methods in document["paths"].values() for one in methods.values()):
        _add_example_name(described, loaded)
    tags = TAGS | {m.name: m.description or f"The model '{m.name}'." for m in loaded}
    document["tags"] = [{"name": name, "description": description} for name, description in tags.items()]
    document["security"] = []
    if keyed:
        _require_key(document)
    _simplify_tuples(document)
    return document


def unique_prefixes(names: Sequence[str]) -> dict[str, str]:
    """Returns a prefix of operations and schemas for each model.

    Generators drop underscores when they join words: ``a_1`` and ``a1`` would have classes of one name.
    """
    prefixes: dict[str, str] = {}
    used = {ANY.replace("_", "")}
    for name in names:
        prefix, number = name, 2
        while prefix.replace("_", "") in used:
            prefix, number = f"{name}_model{number}", number + 1
        used.add(prefix.replace("_", ""))
        prefixes[name] = prefix
    return prefixes


def _inference(
    loaded: Iterable[Manifest], prefixes: Mapping[str, str], default: Manifest | None
) -> Iterator[tuple[str, Document]]:
    """Yields the paths of the default model, of any named model, and of each loaded model."""

    def posts(path: str, name: str, tag: str, manifest: Manifest | None) -> Iterator[tuple[str, Document]]:
        for kind in OPERATIONS:
            for sending in SENDINGS:
                model = (prefixes[manifest.name], manifest) if manifest else None
                operation_id = sending.operation_id(name.format(kind.name))
                described = operation(kind, sending, operation_id, tag, model)
                yield f"{path}/{sending.path(kind.name)}", {"post": described}

    for path, described in posts("", "{}", TAG, default):
        kept = [one for one in described["post"]["parameters"] if one["in"] != "path"]
        yield path, {"post": {**described["post"], "parameters": kept}}
    yield from posts("/models/{name}", "{}_with", TAG, None)
    for manifest in loaded:
        prefix = prefixes[manifest.name]
        yield from posts(f"/models/{manifest.name}", f"{prefix}_{{}}", manifest.name, manifest)


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


def _simplify_tuples(node: Any) -> None:
    """Describes a tuple of equal items as an array of them: few generators read ``prefixItems``."""
    if isinstance(node, dict):
        prefix = node.get("prefixItems")
        if isinstance(prefix, list) and prefix and prefix.count(prefix[0]) == len(prefix):
            node["items"] = node.pop("prefixItems")[0]
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _simplify_tuples(child)


def _is_health(response: Mapping[str, Any]) -> bool:
    """Whether a response has the schema of the health checks, whose errors are no problems."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return bool(schema.get("$ref", "").endswith(("/Health", "/ReadinessHealth")))


def _require_key(document: Document) -> None:
    """Adds that requests need a key, except to open paths."""
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    for path in OPEN & document["paths"].keys():
        for one in document["paths"][path].values():
            one["security"] = []
