"""Transparent pictures are drawn on the background of the training pictures, in training and in requests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models_store.kinds import read_file
from models_store.manifest import Modality
from training.config import read_experiment
from training.data import Prepared, prepare
from training.tables.guess import guess

ROWS = 20
SIDE = 12


def drawing(level: int, row: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A square that differs from row to row, on a background."""
    pixels = np.full((SIDE, SIDE), level, np.uint8)
    pixels[3:9, 3:9] = np.random.default_rng(row).integers(0, 256, (6, 6))
    return pixels


def transparent(path: Path) -> None:
    """Two greys in a transparent picture."""
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[3:9, 3:6], pixels[3:9, 6:9] = (60, 60, 60, 255), (180, 180, 180, 255)
    Image.fromarray(pixels).save(path)


def folder(path: Path, levels: list[int]) -> tuple[Modality, Prepared, list[str]]:
    """What is learned of pictures on these backgrounds, of which the last is transparent."""
    lines = [f"{row}.png,{'ab'[row % 2]}" for row in range(ROWS)]
    (path / "index.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    for row in range(ROWS - 1):
        Image.fromarray(drawing(levels[row % len(levels)], row)).convert("RGB").save(path / f"{row}.png")
    transparent(path / f"{ROWS - 1}.png")
    guessed = guess([path], path / "e.toml")
    (path / "e.toml").write_text(guessed.text.replace("12, 12, 3", "12, 12"))
    prepared = prepare(read_experiment(str(path / "e.toml"))[0])
    return prepared.modalities[0], prepared, list(guessed.report)


@pytest.mark.parametrize("level", [0, 255, 128])
def test_the_background_is_that_of_opaque_pictures(tmp_path: Path, level: int) -> None:
    modality, prepared, report = folder(tmp_path, [level])

    assert modality.background == level
    assert any("1 are transparent" in line for line in report)
    (row,) = read_file(modality, (tmp_path / f"{ROWS - 1}.png").read_bytes())
    assert (row[0, 0], row[4, 4], row[4, 7]) == (level, 60, 180)
    trained = [
        picture.tolist()
        for rows in (prepared.train.in_epoch(0, 0), prepared.validation, prepared.test)
        for picture in rows.data["file"]
    ]
    assert row.tolist() in trained


def test_pictures_on_many_backgrounds_have_none(tmp_path: Path) -> None:
    modality, _, _ = folder(tmp_path, [0, 90, 255])

    assert modality.background is None
    (row,) = read_file(modality, (tmp_path / f"{ROWS - 1}.png").read_bytes())
    assert (row[0, 0], row[4, 4], row[4, 7]) == (255, 60, 180)


@pytest.mark.parametrize(("level", "highest"), [(0, 255), (255, 255), (0, 1), (1, 1)])
def test_arrays_of_bytes_have_a_background_too(tmp_path: Path, level: int, highest: int) -> None:
    pictures = np.full((ROWS, SIDE, SIDE), level, np.uint8)
    pictures[:, 3:9, 3:9] = np.random.default_rng(0).integers(0, highest + 1, (ROWS, 6, 6))
    np.savez(tmp_path / "a.npz", picture=pictures, y=np.arange(ROWS) % 2)
    (tmp_path / "e.toml").write_text(guess([tmp_path / "a.npz"], tmp_path / "e.toml").text)

    (modality, _) = prepare(read_experiment(str(tmp_path / "e.toml"))[0]).modalities

    assert modality.background == 255 * level / highest
