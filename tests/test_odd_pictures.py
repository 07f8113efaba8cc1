"""The shipped ``mnist`` names the same seven in every picture that holds it."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from models_store.folder import SHIPPED
from service.app import create_app
from service.settings import Settings
from tests.models_store.examples import NumpyArray
from tests.service.asking import SEVEN, ask, parts, pixels

LEVELS = np.asarray(Image.fromarray(pixels(SEVEN)).convert("L"))
LARGE = np.asarray(Image.fromarray(LEVELS).resize((280, 280), Image.Resampling.BICUBIC))


def palette() -> Image.Image:
    picture = Image.fromarray((LEVELS > 127).astype(np.uint8)).convert("P")
    picture.putpalette([255] * 6 + [0] * 762)
    picture.info["transparency"] = 0
    return picture


def with_ink(ink: NumpyArray, *levels: int) -> Image.Image:
    return Image.fromarray(np.dstack([np.full_like(ink, level) for level in levels] + [ink]))


PICTURES: dict[str, tuple[Image.Image, str]] = {
    "black pen on transparent": (with_ink(LEVELS, 0, 0, 0), "PNG"),
    "white everywhere, ink in alpha": (with_ink(LEVELS, 255, 255, 255), "PNG"),
    "grey and alpha": (with_ink(LEVELS, 255), "PNG"),
    "palette with a transparent entry": (palette(), "PNG"),
    "shades of white on transparent": (Image.fromarray(np.dstack([LEVELS] * 4)), "PNG"),
    "resized alpha": (with_ink(LARGE, 255, 255, 255), "PNG"),
    "floats from 0 to 1": (Image.fromarray((LEVELS / 255).astype(np.float32)), "TIFF"),
    "integers of 32 bits": (Image.fromarray(LEVELS.astype(np.int32)), "TIFF"),
    "12 of 16 bits": (Image.fromarray(LEVELS.astype(np.uint16) * 16), "PNG"),
    "10 of 16 bits": (Image.fromarray(LEVELS.astype(np.uint16) * 4), "PNG"),
}


@pytest.fixture(scope="module")
def shipped() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(store=SHIPPED))) as client:
        yield client


@pytest.mark.parametrize(("picture", "file_format"), PICTURES.values(), ids=PICTURES)
def test_a_seven_is_a_seven(shipped: TestClient, picture: Image.Image, file_format: str) -> None:
    stream = io.BytesIO()
    picture.save(stream, file_format)
    path = "/models/mnist/generate?gen_mod=label&fields=probabilities"
    label = ask(shipped, path, **parts(image=stream.getvalue()))["targets"]["label"]
    assert label["ranked"][0][0] == "7"
    assert label["probabilities"][0][label["labels"].index("7")] >= 0.99
