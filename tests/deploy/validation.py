"""Validates objects of Kubernetes strictly; custom resources by the reduced schemas of ``crds``."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

CRDS = Path(__file__).with_name("crds")
VERSION = kubernetes_validate.latest_version()
API: dict[str, Any] = json.loads(
    files(kubernetes_validate)
    .joinpath("kubernetes-json-schema", f"v{VERSION}-local-strict", "_definitions.json")
    .read_text()
)
"""Types of the Kubernetes API by name; they allow no unknown field."""


def validate(document: dict[str, Any]) -> None:
    """Validates an object.

    Raises:
        jsonschema.ValidationError: A field is unknown, is missing, or has a value of another type.
    """
    path = CRDS / f"{document['kind'].lower()}.yaml"
    if not path.exists():
        kubernetes_validate.validate(document, VERSION, strict=True)
        return
    schema = {"$id": API["$id"].replace("_definitions.json", path.name), **yaml.safe_load(path.read_text())}
    registry = Registry().with_resource(API["$id"], Resource.from_contents(API))
    Draft202012Validator(closed(schema), registry=registry).validate(document)


def closed(schema: Any) -> Any:
    """The schema without unknown fields, which the API server refuses, and with those of ``x-fields-of``."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(each) for key, each in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        for name, fields in schema.pop("x-fields-of", {}).items():
            names = API["$defs"][name]["properties"] if fields == "all" else fields
            there = f"_definitions.json#/$defs/{name}/properties"
            taken = {field: {"$ref": f"{there}/{field}"} for field in names}
            schema["properties"] = {**taken, **schema["properties"]}
        schema.setdefault("additionalProperties", False)
    return schema
