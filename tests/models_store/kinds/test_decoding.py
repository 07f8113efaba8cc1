"""The work of decoding a picture is counted before it is decoded, and too much work is refused."""

from __future__ import annotations

import io
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from models_store.errors import InputRefused
from models_store.kinds import av1, avif, jpeg, read_file
from models_store.kinds.decoding import MAX_PIXELS, MAX_READS
from models_store.kinds.image import work
from tests.models_store import crafted
from tests.models_store.examples import image

GREY = image(28, 28)
BLACK = zlib.compress(bytes(28 * 28))
STRIP = (279, 4, 1, len(BLACK))
PLACE = -1
FRACTION, LARGE = 5, 20_000


def encoded(file_format: str, size: tuple[int, int] = (30, 20), mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), np.uint8)
    Image.fromarray(noise).convert(mode).save(stream, file_format, **options)
    return stream.getvalue()


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if pixels are decoded."""

    def load(picture: ImageFile.ImageFile) -> None:
        raise AssertionError(f"{picture.format} is decoded")

    for kind in ImageFile.ImageFile, *ImageFile.ImageFile.__subclasses__():
        if "load" in vars(kind):
            monkeypatch.setattr(kind, "load", load)


def refusal(content: bytes) -> str:
    """The sentence by which a picture is refused, whose work counts for nothing then."""
    assert work(content).pixels == 0
    with pytest.raises(InputRefused) as refused:
        read_file(GREY, content)
    return str(refused.value)


@pytest.mark.parametrize(
    ("file_format", "weight"),
    [("PNG", 1), ("JPEG", 1), ("GIF", 1), ("BMP", 1), ("TIFF", 1), ("PPM", 1), ("WEBP", 5), ("AVIF", 5)],
)
def test_usual_pictures_count_their_pixels(file_format: str, weight: int) -> None:
    assert work(encoded(file_format)) == (600, weight)


@pytest.mark.parametrize("name", crafted.crafted_pngs(1, 1))
def test_a_png_counts_the_size_that_is_decoded(name: str) -> None:
    content = crafted.crafted_pngs(300, 200)[name]
    assert work(content) == (60_000, 1)
    assert read_file(GREY, content).shape == (1, 28, 28)


def test_a_png_with_too_many_chunks_is_refused() -> None:
    content = crafted.png(28, 28, after=crafted.chunk(b"abCd", b"") * MAX_READS)
    assert f"may be read in {MAX_READS} steps" in refusal(content)


# --- scans of a JPEG ---------------------------------------------------------------------------------


def test_scans_are_counted_where_they_are() -> None:
    decoy = b"\xff\xda" * 100
    usual = encoded("JPEG", progressive=True, quality=90, comment=decoy, icc_profile=decoy)
    assert jpeg.scans(usual + decoy) == 10
    assert jpeg.scans(encoded("JPEG", restart_marker_rows=1)) == 1
    assert jpeg.scans(crafted.jpeg(28, 28, 57)) == 57


@pytest.mark.parametrize(("scans", "factor"), [(1, 1), (16, 1), (17, 2), (100, 7)])
def test_pixels_count_again_for_each_sixteen_scans(scans: int, factor: int) -> None:
    content = crafted.jpeg(28, 28, scans)
    assert work(content) == (factor * 784, 1)
    assert read_file(GREY, content).shape == (1, 28, 28)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (crafted.jpeg(28, 28, 101), "a JPEG may have 100 scans, this one has more"),
        (crafted.jpeg(4000, 4000, 64), "this JPEG of 4000 × 4000 takes 64000000: it has many scans"),
        (crafted.jpeg(28, 28, 1, behind=b"\xff\xfe\0\2" * 50_000), "may have 50000 segments"),
        (crafted.jpeg(28, 28, 1, behind=b"\xff" * 5000), "may have 4096 bytes of filling in a row"),
    ],
)
def test_a_jpeg_of_too_much_work_is_refused(content: bytes, sentence: str) -> None:
    assert sentence in refusal(content)


# --- tiles and strips of a TIFF ----------------------------------------------------------------------


def test_a_tile_counts_whole() -> None:
    side = 64
    tile = zlib.compress(bytes(side * side))
    content = crafted.tiff(
        28, 28, (322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, PLACE), (325, 4, 1, len(tile)), strip=tile
    )
    assert work(content) == (side * side, 1)
    assert np.array_equal(read_file(GREY, content), np.zeros((1, 28, 28)))


def test_a_strip_counts_no_more_than_the_picture() -> None:
    content = crafted.tiff(28, 28, (273, 4, 1, PLACE), (278, 4, 1, 2**31 - 1), STRIP, strip=BLACK)
    assert work(content) == (784, 1)
    assert read_file(GREY, content).shape == (1, 28, 28)


@pytest.mark.parametrize("scans", [1, 40])
def test_scans_of_a_strip_count_as_those_of_a_jpeg(scans: int) -> None:
    strip = crafted.jpeg(28, 28, scans)
    rows = (278, 4, 1, 28)
    content = crafted.tiff(28, 28, (273, 4, 1, PLACE), rows, (279, 4, 1, len(strip)), strip=strip, packed=7)
    assert work(content).pixels == (784 if scans == 1 else 3 * 784)


TILED = ((324, 4, 1, PLACE), (325, 4, 1, len(BLACK)))
TILES = {
    "a large tile": ((322, 4, 1, LARGE), (323, 4, 1, LARGE), *TILED),
    "a large tile, then a small one": ((322, 4, 1, LARGE), (322, 4, 1, 28), (323, 4, 1, LARGE), *TILED),
    "a width of another type": ((322, FRACTION, 1, 8), (323, 4, 1, LARGE), *TILED),
    "a width of an unknown type": ((322, 17, 1, LARGE), (323, 4, 1, LARGE), *TILED),
    "many strips": ((273, 4, 10**6, PLACE), (278, 4, 1, 1), (279, 4, 10**6, PLACE)),
}


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("name", TILES)
def test_tiles_that_are_too_large_or_unclear_are_refused(name: str) -> None:
    sentence = refusal(crafted.tiff(28, 28, *TILES[name], strip=BLACK + bytes(4 * 10**6)))
    assert "save it as PNG" in sentence


@pytest.mark.usefixtures("undecoded")
def test_a_tiff_that_libraries_read_differently_is_refused() -> None:
    assert "must be little-endian" in refusal(b"MM\0+\0\x08\0\0" + bytes(100))


# --- frames of AVIF, HEIC, GIF and WebP --------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "frames", "planes"), [("L", 1, 1), ("RGB", 1, 1), ("RGBA", 1, 2), ("RGB", 3, 1), ("RGBA", 3, 2)]
)
def test_frames_are_counted_by_their_own_headers(mode: str, frames: int, planes: int) -> None:
    """Half of the pixels of colour and alpha; an animation has long headers, and one frame is decoded."""
    assert avif.pixels(crafted.avif(100, 70, mode, frames)) == planes * 3500


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_frames_larger_than_the_container_states_count(mode: str) -> None:
    content = crafted.restated(crafted.avif(400, 300, mode), (400, 300), (28, 28))
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (28, 28)
    assert work(content) == (120_000 if mode == "RGBA" else 60_000, 5)


@pytest.mark.usefixtures("undecoded")
def test_an_avif_whose_frames_cannot_be_counted_is_refused() -> None:
    content = crafted.avif(100, 70)
    assert "the frames of an AVIF cannot be counted" in refusal(content.replace(b"\x12\0\n", b"\x12\0\x12"))


def bits(*numbers: tuple[int, int]) -> bytes:
    """Numbers, each of so many bits."""
    text = "".join(f"{value:0{count}b}" for value, count in numbers if count)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))


def unit(kind: int, content: bytes) -> bytes:
    return bytes([kind << 3 | 2, len(content)]) + content


SEQUENCE = bits(
    *((0, 3), (0, 1), (0, 1)),  # profile, still picture, short headers
    *((0, 1), (0, 1), (0, 5), (0, 12), (0, 5)),  # timing, delay, one operating point
    *((9, 4), (9, 4), (27, 10), (27, 10)),  # 10 bits for each side, 28 × 28
    *((0, 1), (0, 3), (0, 4), (0, 1), (1, 1), (1, 1)),  # ids, tools; frames choose tools for screens
)


@pytest.mark.parametrize(("states", "expected"), [(0, 784), (1, 2**20)])
def test_a_frame_may_state_a_larger_size_than_the_sequence(states: int, expected: int) -> None:
    """AV1, sections 5.5 and 5.9: a shown key frame; the flag stands behind that of tools for screens."""
    frame = bits((0, 1), (0, 2), (1, 1), (0, 1), (0, 1), (states, 1))
    stream = unit(2, b"") + unit(1, SEQUENCE) + unit(6, frame)
    assert [*av1.frames(memoryview(stream))] == [0, 0, expected]


def test_each_frame_of_a_stream_counts() -> None:
    frame = bits((0, 1), (0, 2), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1))
    stream = unit(1, SEQUENCE) + unit(6, frame) * 5
    assert sum(av1.frames(memoryview(stream))) == 5 * 784


AVIFS = [crafted.avif(40, 30), crafted.avif(40, 30, "RGBA"), crafted.avif(40, 30, "RGB", 2)]


@given(st.sampled_from(AVIFS), st.lists(st.tuples(st.integers(0, 700), st.binary(max_size=4)), max_size=4))
def test_a_damaged_avif_is_counted_or_refused(content: bytes, changes: list[tuple[int, bytes]]) -> None:
    damaged = bytearray(content)
    for start, piece in changes:
        damaged[start : start + len(piece)] = piece
    with suppress(ValueError):
        assert avif.pixels(bytes(damaged)) > 0


def test_a_heic_whose_frame_is_larger_than_stated_is_refused() -> None:
    content = crafted.restated(encoded("HEIF", (640, 480)), (640, 480), (28, 28))
    assert work(content) == (784, 5)
    with pytest.raises(InputRefused, match="640x480 exceeds the maximum"):
        read_file(GREY, content)


def test_a_frame_larger_than_the_screen_of_a_gif_counts() -> None:
    assert work(crafted.gif(300, 200)) == (60_000, 1)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("disposal", [0, 2, 3])
def test_a_huge_frame_of_a_gif_is_refused_before_it_is_allocated(disposal: int) -> None:
    sentence = refusal(crafted.gif(65_535, 65_535, disposal=disposal))
    assert sentence == f"a picture may have {MAX_PIXELS} pixels, this one has {65_535**2}"


def test_a_webp_whose_frame_is_not_of_its_canvas_is_refused() -> None:
    content = bytearray(encoded("WEBP", (300, 200), mode="RGBA"))
    assert content[12:16] == b"VP8X"
    content[24:30] = (27).to_bytes(3, "little") * 2
    refusal(bytes(content))


# --- decoders in Python ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "weight"),
    [
        (b"P1\n28 28\n" + b"1" * 784, 2),
        (b"P2\n28 28\n255\n" + b"1 " * 784, 50),
        (b"P3\n28 28\n255\n" + b"1 " * 3 * 784, 150),
        (b"P4\n28 28\n" + bytes(4 * 28), 1),
        (b"P5\n28 28\n255\n" + bytes(784), 1),
        (b"P5\n28 28\n4095\n" + bytes(2 * 784), 50),
        (b"P6\n28 28\n255\n" + bytes(3 * 784), 1),
        (b"P6\n28 28\n100\n" + bytes(3 * 784), 150),
        (crafted.bmp(28, 28, b"\x1c\0\0\0" * 28 + b"\0\1"), 50),
    ],
    ids=["P1", "P2", "P3", "P4", "P5", "P5 of 12 bits", "P6", "P6 up to 100", "BMP with run lengths"],
)
def test_values_that_python_decodes_count_fifty_times(content: bytes, weight: int) -> None:
    assert work(content) == (784, weight)
    assert read_file(GREY, content).shape == (1, 28, 28)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"P2\n28 28\n255\n" + b"#\n" * 101 + b"1 " * 784, "a plain PPM may have 100 comments"),
        (crafted.bmp(28, 28, b"\0\2\0\0" * 20_000), "may not have more run lengths than pixels"),
        (b"P6\n#" + b"x" * MAX_READS + b"\n28 28\n255\n", f"may be read in {MAX_READS} steps"),
    ],
    ids=["comments", "run lengths without pixels", "a long comment before the size"],
)
def test_steps_that_make_no_pixel_are_bounded(content: bytes, sentence: str) -> None:
    assert sentence in refusal(content)
