"""Videos: clips read from GIFs and written to them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models_store.arrays import Array
from models_store.errors import UnreadableFile, WrongValue
from models_store.kinds import KINDS, read_file, read_values, video
from models_store.kinds.base import MediaKind
from models_store.manifest import Modality
from tests.models_store.examples import image, rows_or_refusal

GREYS = np.array([0, 90, 180, 255], np.uint8)


def clip(*shape: int, **changes: Any) -> Modality:
    return image(8, 6).with_changes({"name": "clip", "kind": "video", "shape": shape, **changes})


def gif(frames: Array, durations: int | list[int] = 100) -> bytes:
    stream = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(stream, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return stream.getvalue()


def flat(levels: Array, height: int = 4, width: int = 5) -> Array:
    """Frames of one grey level each."""
    return np.broadcast_to(levels[:, None, None], (len(levels), height, width)).astype(np.uint8)


def seen(modality: Modality, content: bytes) -> list[int]:
    """The level of each frame of the only row."""
    (row,) = read_file(modality, content)
    assert row.shape == modality.shape
    assert (row == row[:, :1, :1]).all()
    return [int(level) for level in row[:, 0, 0]]


def written(modality: Modality, row: Array) -> bytes:
    kind = modality.traits
    assert isinstance(kind, MediaKind)
    return kind.write_row(modality, row, np.random.default_rng(0))


@pytest.mark.parametrize("shape", [(3, 8, 6), (1, 8, 6), (3, 8, 6, 1), (3, 8, 6, 3)])
def test_shapes_with_and_without_channels_fit(shape: tuple[int, ...]) -> None:
    assert clip(*shape).shape == shape


@pytest.mark.parametrize("shape", [(), (8,), (8, 6), (3, 8, 6, 2), (3, 8, 6, 4), (3, 8, 6, 3, 1)])
def test_other_shapes_do_not_fit(shape: tuple[int, ...]) -> None:
    assert not KINDS["video"].fits(shape)


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 5, 1), (1, 3, 5)])
def test_grey_clips_survive_a_gif(shape: tuple[int, ...]) -> None:
    row = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(read_file(clip(*shape), written(clip(*shape), row))[0], row)


def test_still_frames_survive_a_gif_which_stores_them_once() -> None:
    levels = GREYS[[0, 0, 1, 1, 1, 2]]
    assert seen(clip(6, 4, 5), written(clip(6, 4, 5), flat(levels))) == levels.tolist()


def test_colours_come_out_of_a_gif_as_they_went_in_where_they_are_few() -> None:
    row = np.zeros((2, 4, 5, 3), np.uint8)
    row[0, :, :2], row[1, :, 2:] = (255, 0, 0), (0, 0, 255)
    np.testing.assert_array_equal(read_file(clip(2, 4, 5, 3), written(clip(2, 4, 5, 3), row))[0], row)


def test_colours_become_grey_as_in_a_picture() -> None:
    frames = np.zeros((1, 4, 5, 3), np.uint8)
    frames[..., 0] = 255
    assert seen(clip(1, 4, 5), gif(frames)) == [76]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(4, [0, 90, 180, 255]), (2, [90, 255]), (1, [180]), (8, [0, 0, 90, 90, 180, 180, 255, 255])],
)
def test_a_longer_clip_loses_frames_and_a_shorter_one_repeats_them(frames: int, expected: list[int]) -> None:
    assert seen(clip(frames, 4, 5), gif(flat(GREYS))) == expected


def test_a_frame_that_is_shown_longer_is_sampled_more_often() -> None:
    assert seen(clip(4, 4, 5), gif(flat(GREYS[:2]), [300, 100])) == [0, 0, 0, 90]


def test_frames_are_resized() -> None:
    assert seen(clip(4, 8, 10), gif(flat(GREYS))) == GREYS.tolist()


def test_values_are_in_the_units_of_the_modality() -> None:
    modality = clip(4, 4, 5, dtype="float32", range=(0.0, 1.0))
    np.testing.assert_allclose(read_file(modality, gif(flat(GREYS)))[0, :, 0, 0], GREYS / 255, rtol=1e-6)


def test_nested_lists_are_frames() -> None:
    frames = np.arange(24).reshape(2, 3, 4).tolist()
    assert read_values(clip(2, 3, 4), [frames]).tolist() == [frames]
    with pytest.raises(WrongValue, match=r"shape \(2, 3, 5\)"):
        read_values(clip(2, 3, 5), [frames])


def test_a_grid_shows_all_samples_at_the_same_frame() -> None:
    modality = clip(3, 2, 2)
    samples = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3, 1, 1) * 20
    samples = np.broadcast_to(samples, (2, 2, 3, 2, 2))
    kind = modality.traits
    assert isinstance(kind, MediaKind)
    content = kind.write_grid(modality, samples)
    assert content is not None
    (frames,) = read_file(clip(3, 4, 4), content)
    np.testing.assert_array_equal(frames[1, ::2, ::2], samples[:, :, 1, 0, 0])


@pytest.mark.parametrize("content", [b"GIF89a", b"GIF89a" + bytes(50), b"no clip", b"\x89PNG\r\n\x1a\n"])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(UnreadableFile, match=r"no readable video \(GIF\) in \d+ bytes that begin with"):
        read_file(clip(3, 4, 5), content)


def test_too_many_frames_or_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_FRAMES", 3)
    with pytest.raises(UnreadableFile, match="a video may have 3 frames"):
        read_file(clip(3, 4, 5), gif(flat(GREYS)))
    monkeypatch.undo()
    monkeypatch.setattr(video, "MAX_PIXELS", 4 * 4 * 5 - 1)
    with pytest.raises(UnreadableFile, match="and 79 pixels in all of them"):
        read_file(clip(3, 4, 5), gif(flat(GREYS)))


@given(st.integers(0, 200), st.integers(0, 255))
def test_damaged_files_give_rows_or_a_sentence(place: int, byte: int) -> None:
    content = bytearray(gif(flat(GREYS)))
    content[place % len(content)] = byte
    rows_or_refusal(read_file, clip(3, 4, 5), bytes(content))
