"""Forms as browsers and rare clients write them mean what their writers meant."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from models_store.kinds.fields import Column
from service.app import create_app
from service.settings import Settings
from tests.models_store.examples import array, category, image
from tests.service.asking import SEVEN, ask, inputs
from tests.service.kinds import publish

Part = tuple[str, bytes]
LABEL: Part = ('name="label"', b"f")
PICTURE: dict[str, list[Any]] = {"image": [base64.b64encode(SEVEN).decode()]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store: Path = tmp_path_factory.mktemp("forms")
    columns = (Column(name="height"), Column(name="mass"))
    body = array("vector", 2).model_copy(update={"name": "body", "columns": columns})
    label = category("f", "m").model_copy(update={"name": "label", "field": "性別"})
    publish(store, [label, image(28, 28), body])
    with TestClient(create_app(Settings(store=store))) as client:
        yield client


def written(*parts: Part) -> dict[str, Any]:
    """Keyword arguments for a form: parameters of the content disposition, and further lines; contents."""
    heads = [f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() for head, _ in parts]
    texts = [content + b"\r\n" for _, content in parts]
    body = b"".join(head + text for head, text in zip(heads, texts, strict=True)) + b"--b--\r\n"
    return {"content": body, "headers": {"content-type": "multipart/form-data; boundary=b"}}


FORMS: dict[str, tuple[list[Part], dict[str, list[Any]]]] = {
    "no quotes": ([("name=label", b"f")], {"label": ["f"]}),
    "a header in UTF-8": ([('name="性別"', b"f")], {"label": ["f"]}),
    "an empty file input": ([('name="image"; filename=""', b""), LABEL], {"label": ["f"]}),
    "an empty text input": ([('name="label"', b""), ('name="image"; filename="a"', SEVEN)], PICTURE),
    "a file without a name": ([('name="image"; filename=""', SEVEN)], PICTURE),
    "another name in the file name": ([('filename="a;name=label"; name="image"', SEVEN)], PICTURE),
    "a file name of RFC 5987": ([("name=\"image\"; filename*=UTF-8''%e2%82%ac.png", SEVEN)], PICTURE),
    "a data URL": ([('name="image"', b"data:image/png;base64," + base64.b64encode(SEVEN))], PICTURE),
    "base64": (
        [('name="image"; filename="a"\r\nContent-Transfer-Encoding: Base64', base64.encodebytes(SEVEN))],
        PICTURE,
    ),
    "a string of JSON": ([('name="label"\r\nContent-Type: application/json', b'"f"')], {"label": ["f"]}),
    "a byte order mark": ([('name="label"', "\ufefff".encode())], {"label": ["f"]}),
    "semicolons and decimal commas": (
        [('name="body"', b"mass;height\n60,5;172,5\n\n61;\n")],
        {"body": [[172.5, 60.5], [None, 61]]},
    ),
    "tabs": ([('name="body"', b"mass\theight\n60\t172\n")], {"body": [[172, 60]]}),
    "words for missing": ([('name="body"', b"mass,height\n60,NA\n")], {"body": [[None, 60]]}),
}


@pytest.mark.parametrize(("parts", "expected"), FORMS.values(), ids=FORMS)
def test_an_odd_form(client: TestClient, parts: list[Part], expected: dict[str, list[Any]]) -> None:
    answer = ask(client, "/encode?seed=1", **written(*parts))
    assert answer == ask(client, "/encode?seed=1", **inputs(**expected))


REFUSED: dict[str, tuple[Part, int, str]] = {
    "nothing but an empty input": (('name="image"; filename=""', b""), 422, "nothing was sent"),
    "an empty file": (('name="image"; filename="a.png"', b""), 400, "part 'image': the file is empty"),
    "a damaged data URL": (('name="image"', b"data:image/png;base64,%%"), 400, "text must be base64"),
    "columns of two modalities": (('name="body"', b"label;height\nf;172\n"), 422, "part 'body'"),
    "a cell that is no number": (('name="body"', b"height;mass\nx;172\n"), 422, "part 'body'"),
}


@pytest.mark.parametrize(("part", "status", "message"), REFUSED.values(), ids=REFUSED)
def test_an_odd_form_is_refused(client: TestClient, part: Part, status: int, message: str) -> None:
    response = client.post("/encode", **written(part))
    assert (response.status_code, message in response.text) == (status, True), response.text
