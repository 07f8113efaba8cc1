"""Base64 and JSON as people write them, and pictures whose pixels are many although their bytes are few."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import textwrap
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageFile

from models_store.errors import InputRefused
from models_store.kinds import read_values
from tests.models_store import crafted
from tests.models_store.examples import array, image
from tests.service.asking import SEVEN, ask, inputs, parts

TEXT = base64.b64encode(SEVEN).decode()
URL_SAFE = base64.urlsafe_b64encode(SEVEN).decode()
WRITTEN = {
    "data URL": f"data:image/png;base64,{TEXT}",
    "data URL with parameters": f"data:image/png;name=seven.png;BASE64,{TEXT}",
    "data URL without a type": f"data:;base64,{TEXT}",
    "lines of 76": "\n".join(textwrap.wrap(TEXT, 76)) + "\n",
    "lines of 76, CRLF": "\r\n".join(textwrap.wrap(TEXT, 76)),
    "URL-safe": URL_SAFE,
    "URL-safe without padding": URL_SAFE.rstrip("="),
    "without padding": TEXT.rstrip("="),
    "all of it": "data:image/png;base64,\n" + "\n".join(textwrap.wrap(URL_SAFE.rstrip("="), 64)),
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_base64_in_any_common_writing_is_the_same_file(client: TestClient, text: str) -> None:
    expected = ask(client, "/encode", **inputs(image=[TEXT]))["mu"]
    assert ask(client, "/encode", **inputs(image=[text]))["mu"] == expected


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_missing_padding_of_any_length_is_added(extra: int) -> None:
    content = SEVEN + bytes(extra)
    text = base64.b64encode(content).decode().rstrip("=")
    assert np.array_equal(read_values(image(28, 28), [text]), read_values(image(28, 28), [TEXT]))


@pytest.mark.parametrize("text", ["no base64!", "data:image/png,abc", "A", "data:image/png;base64,???", "é"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InputRefused, match="text must be base64 of a file, got "):
        read_values(image(28, 28), [text])


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "nan", "None"])
@pytest.mark.parametrize("before", ["", "é" * 50])
def test_a_word_for_no_number_is_refused_with_the_remedy(client: TestClient, word: str, before: str) -> None:
    body = f'{{"inputs": {{"label": ["7{before}", {word}]}}}}'
    response = client.post("/encode", content=body.encode(), headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["detail"].endswith(f"{word} is no JSON: write null for a missing value")


def test_other_damage_has_no_such_remedy(client: TestClient) -> None:
    body = json.dumps({"inputs": {"label": ["NaN"]}})[:-1]
    response = client.post("/encode", content=body.encode(), headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert "write null" not in response.json()["detail"]


@pytest.mark.parametrize("row", [[1, None, 3, 4], [1, float("nan"), 3, 4]])
@pytest.mark.parametrize("dtype", ["int64", "uint8", "int16"])
def test_a_missing_cell_of_whole_numbers_is_refused_by_its_name(row: list[Any], dtype: str) -> None:
    with pytest.raises(InputRefused, match=f"a row of {dtype} has no missing cells, but one is null"):
        read_values(array("vector", 4, dtype=dtype), [[1, 2, 3, 4], row])


# --- pixels ------------------------------------------------------------------------------------------


def blank(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def few_pixels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the pictures that are decoded, where a request may have 1000 pixels."""
    decoded: list[int] = []
    load = Image.Image.convert

    def recorded(picture: Image.Image, *arguments: Any, **options: Any) -> Image.Image:
        decoded.append(picture.width * picture.height)
        return load(picture, *arguments, **options)

    monkeypatch.setattr(Image.Image, "convert", recorded)
    monkeypatch.setattr("service.formats.pixels.MAX_PIXELS", 1000)
    return decoded


def bodies(pictures: list[bytes]) -> dict[str, dict[str, Any]]:
    texts = [base64.b64encode(content).decode() for content in pictures]
    tensor = {"name": "image", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return {
        "form": {"url": "/encode", **parts(image=pictures)},
        "JSON": {"url": "/encode", **inputs(image=texts)},
        "tensor": {"url": "/v2/models/tiny/infer", "json": {"inputs": [tensor]}},
    }


@pytest.mark.parametrize("form", ["form", "JSON", "tensor"])
def test_pixels_of_a_request_are_counted_before_any_is_decoded(
    client: TestClient, few_pixels: list[int], form: str
) -> None:
    response = client.post(**bodies([blank(20, 20)] * 5)[form])
    assert response.status_code == 413
    assert "may have 1000 pixels, the first 3 of 5 have 1200" in response.text
    assert few_pixels == []


@pytest.mark.parametrize("form", ["form", "JSON", "tensor"])
def test_pictures_whose_decoders_hold_the_interpreter_have_fewer_pixels(
    client: TestClient, few_pixels: list[int], form: str
) -> None:
    """Among them is one that begins as a WAV does, and is decoded in a thread all the same."""
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "WEBP", lossless=True)
    response = client.post(**bodies([stream.getvalue()])[form])
    assert response.status_code == 413
    assert "the first 1 of 1 have 2000" in response.text
    assert few_pixels == []


@pytest.mark.parametrize("form", ["form", "JSON", "tensor"])
@pytest.mark.parametrize("name", ["plain", *crafted.crafted_pngs(1, 1)])
def test_no_large_picture_is_decoded_on_the_event_loop(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, form: str, name: str
) -> None:
    """The size of a PNG is read where its decoder reads it."""
    threads: list[bool] = []
    load = ImageFile.ImageFile.load

    def recorded(picture: ImageFile.ImageFile) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            threads.append(True)
        else:
            threads.append(False)
        return load(picture)

    monkeypatch.setattr(ImageFile.ImageFile, "load", recorded)
    pictures = {"plain": crafted.png(300, 200), **crafted.crafted_pngs(300, 200)}
    response = client.post(**bodies([pictures[name]])[form])
    assert response.status_code == 200, response.text
    assert threads
    assert all(threads)


@pytest.mark.parametrize("form", ["form", "JSON", "tensor"])
def test_values_that_python_decodes_are_few(client: TestClient, form: str) -> None:
    picture = b"P3\n600 600\n255\n1 1 1"
    response = client.post(**bodies([picture])[form])
    assert response.status_code == 413
    assert "the first 1 of 1 have 54000000" in response.text
    assert "of plain PPM" in response.text


@pytest.mark.parametrize("form", ["form", "JSON", "tensor"])
def test_as_many_pixels_as_allowed_are_read(client: TestClient, few_pixels: list[int], form: str) -> None:
    response = client.post(**bodies([blank(20, 20)] * 2)[form])
    assert response.status_code == 200, response.text
    assert few_pixels
