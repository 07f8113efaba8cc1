"""Large pictures of any depth and transparency take the memory that the service prices."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models_store.kinds import tiles
from service.formats.pixels import BYTES_OF_PIXEL

SIDE = 2500
SLACK = 16 * 2**20
"""Bytes of what is imported and allocated beside the picture."""

READ = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
from models_store.kinds import image
shown = SimpleNamespace(shape=(28, 28), background=None)
small, *large = (Path(name).read_bytes() for name in sys.argv[1:])
image._read(shown, small)  # imports what it needs
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for content in large:
    image._read(shown, content)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def test_reading_takes_no_more_than_the_price_of_its_pixels(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("small", "alpha", "deep")]
    for file, mode, side in zip(files, ("L", "RGBA", "I;16"), (8, SIDE, SIDE), strict=True):
        Image.new(mode, (side, side)).save(file, "PNG", compress_level=1)
    command = [sys.executable, "-c", READ, *map(str, files)]
    taken = int(subprocess.check_output(command, text=True))  # noqa: S603 - our own text
    assert taken < BYTES_OF_PIXEL * SIDE**2 + SLACK


@pytest.mark.parametrize("size", [(1, 1), (700, 900), (tiles.TILE + 3, 2), (2, tiles.TILE + 3)])
def test_tiles_are_small_and_cover_a_picture_once(size: tuple[int, int]) -> None:
    counts = np.zeros(size[::-1], int)
    for left, top, right, bottom in tiles.boxes(size):
        assert (right - left) * (bottom - top) <= tiles.TILE
        counts[top:bottom, left:right] += 1
    assert (counts == 1).all()


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_tiles_are_composited_as_the_whole_picture_is(alpha: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 11, 4), dtype=np.uint8)
    values[..., 3] = np.where(values[..., 0] > 128, alpha, values[..., 3])
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    whole = tiles.opaque(Image.open(stream), 3, 40)
    monkeypatch.setattr(tiles, "TILE", 7)
    assert tiles.opaque(Image.open(stream), 3, 40).tobytes() == whole.tobytes()
    levels = Image.fromarray(values[..., 0].astype(np.int32) * 200)
    pieces = tiles.eight_bits(levels, None)
    monkeypatch.undo()
    assert tiles.eight_bits(levels, None).tobytes() == pieces.tobytes()
