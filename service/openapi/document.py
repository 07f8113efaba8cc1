"""The whole document: what the framework knows of other paths, and the questions of every loaded model."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from models_store.manifest import Manifest
from service.http.security import OPEN
from service.openapi.errors import problem
from service.openapi.operations import QUESTIONS, components, operation
from service.schemas import Problem

Document = dict[str, Any]

ABOUT = """Any view in, any view out: send whatever modalities you have, get the others.

Every model has operations of its own, with its modalities as fields. `/encode`, `/generate` and `/score` mean
the default model. The Open Inference Protocol v2, which is described elsewhere, is spoken under `/v2`."""


def describe(
    framework: Document, manifests: Iterable[Manifest], default: Manifest | None, keyed: bool
) -> Document:
    """OpenAPI 3.1.

    Arguments:
        framework: What the framework says of all other paths.
        manifests: Of the models that answer.
        default: Of the one that is meant where none is named, if any.
        keyed: Whether a key is asked for.
    """
    told = copy.deepcopy(framework)
    told["info"]["description"] = ABOUT
    known = list(manifests)
    schemas = told.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema()
    for manifest in known:
        schemas |= components(manifest)
    for other in (other for methods in told["paths"].values() for other in methods.values()):
        _mend_errors(other)
        _mend_path(other)
    told["paths"] = {**dict(_questions(known, default)), **told["paths"]}
    for other in (other for methods in told["paths"].values() for other in methods.values()):
        _name_one(other, known)
    tags = {"questions": "To the default model, or to any."} | {m.name: m.description for m in known}
    told["tags"] = [{"name": name, "description": description} for name, description in tags.items()]
    if keyed:
        _lock(told)
    return told


def _questions(known: Iterable[Manifest], default: Manifest | None) -> Iterator[tuple[str, Document]]:
    """The paths of the default model, of whichever model is named, and of each that is known."""
    for question in QUESTIONS:
        own = operation(question, question.name, "questions", default)
        own["parameters"] = [parameter for parameter in own["parameters"] if parameter["in"] != "path"]
        yield f"/{question.name}", {"post": own}
    for question in QUESTIONS:
        generic = operation(question, f"{question.name}_with", "questions", None)
        yield f"/models/{{name}}/{question.name}", {"post": generic}
    for manifest in known:
        for question in QUESTIONS:
            own = operation(question, f"{manifest.name}_{question.name}", manifest.name, manifest)
            yield f"/models/{manifest.name}/{question.name}", {"post": own}


def _mend_errors(told: Document) -> None:
    """All errors are problems; the framework believes in a form of its own, and knows nothing of keys."""
    responses = told.setdefault("responses", {})
    for status, response in responses.items():
        if status >= "400" and not _is_health(response):
            responses[status] = problem(int(status))
    for status in (401, 500):
        responses.setdefault(str(status), problem(status))


def _mend_path(told: Document) -> None:
    """A name that may be left out elsewhere is never left out of a path."""
    for parameter in told.get("parameters", []):
        if parameter["in"] == "path" and "anyOf" in parameter["schema"]:
            parameter["schema"] = {"type": "string"}


def _name_one(told: Document, known: Sequence[Manifest]) -> None:
    """Where any model may be named, one that answers."""
    for parameter in told.get("parameters", []):
        if known and parameter["in"] == "path" and parameter["name"] == "name":
            parameter["example"] = known[0].name


def _is_health(response: Mapping[str, Any]) -> bool:
    """Whether it says the same as where all is well."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return bool(schema.get("$ref", "").endswith("/Health"))


def _lock(told: Document) -> None:
    """Says that a key is wanted, except where it is not."""
    told["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    told["security"] = [{"key": []}]
    for path in OPEN & told["paths"].keys():
        for one in told["paths"][path].values():
            one["security"] = []
