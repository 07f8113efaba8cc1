"""Every request, allowed by /openapi.json or not, is answered as it says; schemathesis makes the requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from schemathesis import Case, SerializationContext
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests

from service.app import create_app
from service.openapi import describe
from service.settings import Settings
from tests.service.kinds import described, publish

MANIFEST = described()
DOCUMENT = describe(FastAPI.openapi(create_app(Settings())), [MANIFEST], MANIFEST, keyed=False)
"""Of the service that answers here; known before it runs, so that every operation is a test."""


def with_all_forms(node: Any) -> Any:
    """The document with every form of a row: ``x-also`` and ``x-labels`` as alternatives and enumerations."""
    if isinstance(node, list):
        return [with_all_forms(child) for child in node]
    if not isinstance(node, dict):
        return node
    also, labels = node.get("x-also"), node.get("x-labels")
    plain = {key: with_all_forms(value) for key, value in node.items() if not key.startswith("x-")}
    if labels:
        plain["enum"] = [*labels, *([None] if "null" in node["type"] else [])]
    return {"anyOf": [plain, *with_all_forms(also)]} if also else plain


CONFIG = schemathesis.Config.from_dict(
    {
        "seed": 0,
        "generation": {"max-examples": 8, "deterministic": True, "database": "none"},
        # A body or an answer that is too large is refused with a status that the check does not know.
        "checks": {"negative_data_rejection": {"expected-statuses": [400, 404, 405, 406, 413, 415, 422]}},
        "operations": [
            {
                "include-path-regex": "/(encode|generate|score)(/[a-z]+)?$",
                # No schema can tell the bytes of a picture, nor that all modalities have as many rows.
                "checks": {"positive_data_acceptance": {"enabled": False}},
            },
            {
                # Described like those of the model that they mean, which are asked everything.
                "include-path-regex": "^/(encode|generate|score)(/[a-z]+)?$",
                "phases": {"coverage": {"enabled": False}},
            },
        ],
    }
)
SCHEMA = schemathesis.openapi.from_dict(with_all_forms(DOCUMENT), config=CONFIG)


@schemathesis.serializer("application/x-npz")
def archive(_context: SerializationContext, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store = tmp_path_factory.mktemp("kinds")
    publish(store)
    with TestClient(create_app(Settings(store=str(store), max_rows=50, max_draws=1000))) as client:
        yield client


def test_the_document_is_that_of_the_service(service: TestClient) -> None:
    assert service.get("/openapi.json").json() == DOCUMENT


def answered_as_described(service: TestClient, case: Case[Any]) -> None:
    if case.media_type == "multipart/form-data" and isinstance(case.body, dict) and [] in case.body.values():
        return  # a form has one part per row: a name without rows leaves no trace, also where it is refused
    # It goes with cond_mod=none alone, which no schema states; with it, hardly a request would succeed.
    if case.media_type and re.fullmatch("[1-9][0-9]*", str((case.query or {}).get("n_data"))):
        del case.query["n_data"]
    requested = requests.Request(**case.as_transport_kwargs(base_url=str(service.base_url))).prepare()
    assert requested.method
    assert requested.url
    assert isinstance(requested.body, bytes | str | None)
    headers = [*map(_encoded, requested.headers.items())]
    answer = service.request(requested.method, requested.url, headers=headers, content=requested.body)
    case.validate_response(answer)


# Ways of sending to the default model are described like those of the model that it is.
MODELS = SCHEMA.exclude(path_regex="^/(encode|generate|score)/")
LABELS = [operation.ok().label for operation in MODELS.get_all_operations() if isinstance(operation, Ok)]


@pytest.mark.parametrize("label", LABELS)
def test_every_request_is_answered_as_described(service: TestClient, label: str) -> None:
    """The requests are made here: schemathesis would make them when each worker collects all tests."""
    load_all_checks()
    alone = MODELS.exclude(name=[other for other in LABELS if other != label])
    (made,) = get_all_tests(schema=alone, test_func=answered_as_described, settings=None, given_kwargs=None)
    assert isinstance(made, Ok)
    _, send = made.ok()
    send(service=service)


def _encoded(header: tuple[str, str | bytes]) -> tuple[bytes, bytes]:
    name, value = header
    return name.encode(), value if isinstance(value, bytes) else value.encode("latin1")
