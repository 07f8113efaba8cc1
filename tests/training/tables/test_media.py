"""Folders of pictures, sounds, clips and arrays: their shape is found and damage is a missing entry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from training.config import read_experiment
from training.data import Prepared, prepare
from training.errors import TrainingError
from training.tables.guess import Guessed, guess

ROWS = 20
RATE = 8000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)


def picture(path: Path, row: int) -> None:
    Image.fromarray(np.full((9, 7), row, np.uint8)).save(path)


def sound(path: Path, row: int) -> None:
    soundfile.write(path, TONE * (1 + row) / ROWS, RATE)


def clip(path: Path, row: int) -> None:
    frames = [Image.fromarray(np.full((9, 7), 40 * at + row, np.uint8)) for at in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def array(path: Path, row: int) -> None:
    np.save(path, np.full((5, 6), row))


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def folder(path: Path, suffix: str, save: Callable[[Path, int], None], rows: int = ROWS) -> Path:
    """A table of files and labels, beside the files."""
    path.mkdir(exist_ok=True)
    lines = [f"{row}{suffix},{'ab'[row % 2]}" for row in range(rows)]
    (path / "index.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    for row in range(rows):
        save(path / f"{row}{suffix}", row)
    return path


def loaded(path: Path) -> tuple[Guessed, Prepared, int]:
    """What is guessed of a folder, what it loads, and the number of files that are present."""
    guessed = guess([path], path / "e.toml")
    (path / "e.toml").write_text(guessed.text)
    prepared = prepare(read_experiment(str(path / "e.toml"))[0])
    splits = (prepared.train.in_epoch(0, 0), prepared.validation, prepared.test)
    return guessed, prepared, sum(int(rows.masks["file"].sum()) for rows in splits)


def start_of(content: bytes) -> bytes:
    return content[:40]


@pytest.mark.parametrize(
    ("suffix", "save"), [(".png", picture), (".wav", sound), (".gif", clip), (".npy", array)]
)
@pytest.mark.parametrize(
    "damage", [start_of, lambda _: b"", lambda _: b"no such file"], ids=["start", "empty", "text"]
)
def test_a_damaged_file_is_a_missing_entry_with_a_line(
    tmp_path: Path, suffix: str, save: Any, damage: Callable[[bytes], bytes]
) -> None:
    path = folder(tmp_path / "media", suffix, save)
    damaged = path / f"3{suffix}"
    damaged.write_bytes(damage(damaged.read_bytes()))

    guessed, _, present = loaded(path)

    assert present == ROWS - 1
    (line,) = [line for line in guessed.report if "cannot be read" in line]
    assert f"of the first 20, 1 cannot be read and so are missing: 3{suffix}: " in line


@pytest.mark.parametrize("samples", [TONE * 0, TONE[:0]], ids=["silent", "without samples"])
def test_a_sound_of_nothing_is_a_missing_entry_with_a_line(tmp_path: Path, samples: Any) -> None:
    path = folder(tmp_path / "media", ".wav", sound)
    soundfile.write(path / "3.wav", samples, RATE)

    guessed, _, present = loaded(path)

    assert present == ROWS - 1
    assert any("1 cannot be read and so are missing: 3.wav: the sound " in line for line in guessed.report)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".wav", ".npy"])
def test_a_folder_of_damaged_files_is_refused_in_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = folder(tmp_path / "media", suffix, lambda path, _: write(path, b"\x89PNG"))
    with pytest.raises(TrainingError) as refusal:
        guess([path], path / "e.toml")
    assert suffix in str(refusal.value)
    assert "\n" not in str(refusal.value)


def _damaged(path: Path, row: int) -> None:
    path.write_bytes(b"damaged" * (row + 1))


def test_files_that_begin_far_down_in_the_table_are_found(tmp_path: Path) -> None:
    path = folder(tmp_path / "media", ".png", picture, rows=80)
    for row in range(60):
        (path / f"{row}.png").unlink()

    _, prepared, present = loaded(path)

    assert present == 20
    assert {one.name: one.shape for one in prepared.modalities} == {"file": (9, 7), "label": ()}


def test_a_table_of_files_of_which_none_is_there_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "media", ".png", lambda *_: None)
    with pytest.raises(TrainingError, match=r"none of the files that 'file' names is in"):
        guess([path], path / "e.toml")


@pytest.mark.parametrize(
    ("suffix", "remedy"),
    [(".png", r"\.png or \.jpg"), (".wav", r"\.wav or \.flac"), (".npy", r"arrays \(\.npy\)")],
)
def test_a_folder_of_which_no_file_can_be_read_is_refused_with_a_remedy(
    tmp_path: Path, suffix: str, remedy: str
) -> None:
    path = folder(tmp_path / "media", suffix, _damaged)
    sentence = (
        f"none of the files that 'file' names can be read: .*; convert them to .*{remedy}, or leave that"
    )
    with pytest.raises(TrainingError, match=sentence):
        guess([path], path / "e.toml")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(lambda row: np.full((5, 6), row), (5, 6), id="a row without its axis"),
        pytest.param(lambda row: np.full((1, 5, 6), row), (5, 6), id="one row with its axis"),
        pytest.param(lambda row: np.full(7, row / 4, np.float16), (7,), id="a vector"),
        pytest.param(lambda row: np.full((2, 3, 4), row, ">i4"), (2, 3, 4), id="three axes"),
    ],
)
def test_arrays_of_a_folder_have_the_shape_of_a_row(
    tmp_path: Path, rows: Callable[[int], Any], expected: tuple[int, ...]
) -> None:
    path = folder(tmp_path / "media", ".npy", lambda path, row: np.save(path, rows(row)))

    _, prepared, present = loaded(path)

    assert present == ROWS
    (modality,) = [one for one in prepared.modalities if one.name == "file"]
    assert modality.shape == expected
    values = np.concatenate(
        [
            rows.data["file"].numpy()
            for rows in (prepared.train.in_epoch(0, 0), prepared.validation, prepared.test)
        ]
    )
    assert sorted(values.reshape(ROWS, -1)[:, 0].tolist()) == [
        float(rows(row).flat[0]) for row in range(ROWS)
    ]


@pytest.mark.parametrize(
    ("suffix", "remedy"), [(".psd", ".png or .jpg"), (".m4a", ".wav or .flac"), (".xyz9", "arrays (.npy)")]
)
def test_the_remedy_for_another_format_is_one_of_its_kind(tmp_path: Path, suffix: str, remedy: str) -> None:
    path = folder(tmp_path / "media", suffix, lambda path, _: write(path, b"x"))
    (line,) = [line for line in guess([path], path / "e.toml").report if "which is not read" in line]
    assert line.endswith(remedy)


@pytest.mark.parametrize("suffix", [".pgm", ".jfif", ".apng", ".bmp"])
def test_pictures_with_rarer_names_are_read(tmp_path: Path, suffix: str) -> None:
    def save(path: Path, row: int) -> None:
        kind = {".jfif": "JPEG", ".apng": "PNG"}.get(suffix)
        Image.fromarray(np.full((9, 7), row, np.uint8)).save(path, kind)

    _, prepared, present = loaded(folder(tmp_path / "media", suffix, save))
    assert prepared.modalities[0].shape == (9, 7)
    assert present == ROWS


def test_sounds_of_more_than_4_gb_have_a_header_of_their_own(tmp_path: Path) -> None:
    def save(path: Path, row: int) -> None:
        soundfile.write(path, TONE * (1 + row) / ROWS, RATE, format="RF64")

    assert loaded(folder(tmp_path / "media", ".wav", save))[2] == ROWS


def test_pictures_of_several_pages_are_named(tmp_path: Path) -> None:
    guessed, prepared, _ = loaded(folder(tmp_path / "media", ".tif", clip))
    assert "'file': of the first 20, 20 have several pages or frames; the first is read" in guessed.text
    assert prepared.modalities[0].shape == (9, 7)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.full((9, 7), -1, np.float32), "must go from 0 to 1, 255 or 65535, this one has values from -1"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "run git lfs pull"),
    ],
)
def test_a_folder_of_which_no_picture_has_a_use_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    def save(path: Path, _row: int) -> None:
        write(path, content) if isinstance(content, bytes) else Image.fromarray(content).save(path)

    path = folder(tmp_path / "media", ".tif", save)
    with pytest.raises(TrainingError, match=reason):
        guess([path], path / "e.toml")
