"""Clips go from a folder of GIFs to a served model, which reads their motion and returns GIFs."""

from __future__ import annotations

import io
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from models_store.arrays import Array
from models_store.folder import open_bundle
from models_store.kinds import read_file
from models_store.kinds.video import write_gif
from service.app import create_app
from service.settings import Settings
from tests.models_store.kinds.test_video import clip
from training.cli import main

FRAMES, HEIGHT, WIDTH = 6, 12, 16
CLIP = clip(FRAMES, HEIGHT, WIDTH)
ROWS = 240

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def moving(towards: str, rng: np.random.Generator) -> Array:
    """A bright square that crosses the picture; a single frame does not tell the direction."""
    row, frames = rng.integers(0, HEIGHT - 4), np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    for index, frame in enumerate(frames):
        left = index * (WIDTH - 4) // (FRAMES - 1)
        frame[row : row + 4, left : left + 4] = 255
    return frames if towards == "right" else frames[::-1]


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["anyview-train", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GIFs with a table, the experiment file that ``init`` writes, and the model that it trains."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    (folder / "arrows").mkdir()
    lines = ["clip,direction"]
    for index in range(ROWS):
        towards = ("left", "right")[index % 2]
        (folder / "arrows" / f"{index}.gif").write_bytes(write_gif(CLIP, moving(towards, rng)))
        lines.append(f"{index}.gif,{towards}")
    (folder / "arrows" / "table.csv").write_text("\n".join(lines) + "\n")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        typed(patch, "init", "arrows", "--output", "arrows.toml")
        text = re.sub(r"(?m)^epochs = \d+", "epochs = 30", Path("arrows.toml").read_text())
        text = re.sub(r"(?m)^(network.*)\n# (network.*conv[^#\n]*).*$", r"\2", text)
        text = re.sub(r"hidden = \[256\]", "hidden = [64]", text)
        Path("arrows.toml").write_text(text)
        typed(patch, "fit", "arrows.toml", "--store", "store")
    torch.set_num_threads(threads)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(store=folder / "store"))) as client:
        yield client


def test_init_takes_moving_gifs_for_videos(folder: Path) -> None:
    guessed = tomllib.loads((folder / "arrows.toml").read_text())["modalities"]["clip"]
    assert guessed["kind"] == "video"
    assert guessed["shape"] == [FRAMES, HEIGHT, WIDTH]
    assert guessed["network"]["type"] == "conv"
    assert open_bundle(folder / "store" / "arrows" / "1").manifest.modality("clip").likelihood == "bernoulli"


@pytest.mark.parametrize("towards", ["left", "right"])
def test_the_direction_of_an_uploaded_gif_is_read(client: TestClient, towards: str) -> None:
    content = write_gif(CLIP, moving(towards, np.random.default_rng(1)))
    response = client.post("/generate?gen_mod=direction&seed=1", files={"clip": ("clip.gif", content)})
    assert response.status_code == 200, response.text
    assert response.json()["targets"]["direction"]["ranked"][0][0] == towards


def positions(frames: Array) -> Array:
    """The centre of brightness from left to right, by frame."""
    grey = frames.astype(float).reshape(FRAMES, HEIGHT, WIDTH, -1).mean(axis=-1).sum(axis=1)
    centres: Array = (grey * np.arange(WIDTH)).sum(axis=1) / grey.sum(axis=1)
    return centres


@pytest.mark.parametrize(("towards", "sign"), [("left", -1), ("right", 1)])
def test_a_gif_that_moves_as_its_label_says_is_returned(client: TestClient, towards: str, sign: int) -> None:
    question = {"files": {"direction": (None, towards)}, "params": {"gen_mod": "clip", "seed": 1, "N": 1}}
    response = client.post("/generate", headers={"accept": "image/gif"}, **question)  # type: ignore[arg-type]
    assert response.headers["content-type"] == "image/gif"
    (frames,) = read_file(CLIP, response.content)
    assert (sign * np.diff(positions(frames)) > 0.5).all()
    packed = client.post("/generate", headers={"accept": "application/zip"}, **question)  # type: ignore[arg-type]
    with zipfile.ZipFile(io.BytesIO(packed.content)) as files:
        assert files.read("clip/0_0.gif") == response.content


def test_an_example_is_a_gif(client: TestClient) -> None:
    response = client.get("/models/arrows/examples/0/clip")
    assert response.headers["content-type"] == "image/gif"
    with Image.open(io.BytesIO(response.content)) as shown:
        assert (shown.format, shown.n_frames) == ("GIF", FRAMES)  # type: ignore[attr-defined]


def test_the_api_describes_videos(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    form = document["components"]["schemas"]["ArrowsForm"]["properties"]["clip"]
    assert "A clip (GIF), resized, and sampled to the number of frames" in form["description"]
    assert form["x-modality"]["kind"] == "video"
