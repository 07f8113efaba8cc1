"""A picture has the same pixels for every reader; a file without a picture is refused."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models_store.errors import InputRefused
from models_store.kinds import read_file, read_values
from models_store.kinds.image import write_png, write_png_grid
from models_store.manifest import Modality
from tests.models_store.examples import NumpyArray, image, rows_or_refusal

GREY, COLOUR, WITH_ALPHA = image(8, 6), image(8, 6, 3), image(8, 6, 4)
every_modality = pytest.mark.parametrize(
    "modality", [GREY, COLOUR, WITH_ALPHA, image(8, 6, 1)], ids=lambda modality: str(modality.shape)
)

ORIENTATION = 274
"""The EXIF tag; below, how what is stored is turned upright."""
UPRIGHT: dict[int, Callable[[NumpyArray], NumpyArray]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored.T, 2),
    8: np.rot90,
}


def noise(*shape: int, dtype: str = "uint8") -> NumpyArray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(*shape: int) -> NumpyArray:
    """A ramp from black to white, which compression hardly changes."""
    return np.linspace(0, 255, int(np.prod(shape))).reshape(shape).astype(np.uint8)


def encoded(pixels: NumpyArray | Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def exif_block(*entries: tuple[int, int, int, int]) -> bytes:
    """Entries of (tag, type, count, value), whether a camera would write them or not."""
    fields = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size, and holds a few bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


def refusal(content: bytes, modality: Modality = GREY) -> str:
    with pytest.raises(InputRefused) as refused:
        read_file(modality, content)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@every_modality
def test_a_picture_survives_png(modality: Modality) -> None:
    pixels = noise(*modality.shape)
    [read] = read_file(modality, write_png(modality, pixels))
    assert read.dtype == np.uint8
    assert np.array_equal(read, pixels)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_formats_without_loss_give_the_same_pixels(file_format: str) -> None:
    pixels = noise(8, 6, 3)
    assert np.array_equal(read_file(COLOUR, encoded(pixels, file_format))[0], pixels)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "GIF"])
def test_formats_with_loss_come_close(file_format: str) -> None:
    pixels = smooth(8, 6)
    [read] = read_file(GREY, encoded(pixels, file_format))
    assert np.abs(read.astype(int) - pixels).max() <= 12


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_picture_is_turned_upright(orientation: int) -> None:
    stored = noise(5, 7)
    expected = UPRIGHT[orientation](stored)
    content = encoded(stored, exif=turned(orientation))
    assert np.array_equal(read_file(image(*expected.shape), content)[0], expected)


def test_a_jpeg_is_turned_upright() -> None:
    stored = smooth(16, 24)
    [read] = read_file(image(24, 16), encoded(stored, "JPEG", quality=95, exif=turned(6)))
    assert np.abs(read.astype(int) - np.rot90(stored, -1)).max() <= 12


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_picture_of_sixteen_bits_is_turned_upright(file_format: str) -> None:
    stored = noise(5, 7, dtype="uint16")
    [read] = read_file(image(7, 5), encoded(stored, file_format, exif=turned(6)))
    assert np.array_equal(read, np.rot90(stored, -1) // 257)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_divided_and_not_clipped(file_format: str) -> None:
    pixels = np.linspace(0, 65535, 48).astype(np.uint16).reshape(8, 6)
    [read] = read_file(GREY, encoded(pixels, file_format))
    assert read.min() == 0
    assert read.max() == 255
    assert np.abs(read - pixels / 257).max() <= 1


def test_colour_becomes_grey_by_luminance() -> None:
    pixels = noise(8, 6, 3)
    [read] = read_file(GREY, encoded(pixels))
    assert np.abs(read - pixels @ [0.299, 0.587, 0.114]).max() <= 1


def test_grey_becomes_colour_with_equal_channels() -> None:
    pixels = noise(8, 6)
    assert np.array_equal(read_file(COLOUR, encoded(pixels))[0], np.stack([pixels] * 3, axis=-1))


def test_a_picture_without_alpha_becomes_opaque() -> None:
    pixels = noise(8, 6, 3)
    [read] = read_file(WITH_ALPHA, encoded(pixels))
    assert np.array_equal(read[..., :3], pixels)
    assert (read[..., 3] == 255).all()


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK"])
def test_pictures_of_every_mode_are_converted(mode: str) -> None:
    stored = Image.fromarray(noise(8, 6, 3)).convert(mode)
    content = encoded(stored, "TIFF" if mode == "CMYK" else "PNG")
    assert np.array_equal(read_file(COLOUR, content)[0], np.asarray(stored.convert("RGB")))


def test_a_palette_with_transparency_is_read_quietly() -> None:
    stored = Image.fromarray(noise(8, 6, 3)).convert("P")
    content = encoded(stored, transparency=bytes(range(200)))
    white = Image.new("RGBA", stored.size, "white")
    expected = Image.alpha_composite(white, Image.open(io.BytesIO(content)).convert("RGBA")).convert("RGB")
    assert np.array_equal(read_file(COLOUR, content)[0], np.asarray(expected))


@every_modality
def test_a_picture_of_another_size_is_resized(modality: Modality) -> None:
    halves = np.zeros((40, 30, 3), np.uint8)
    halves[20:] = 255  # the lower half
    [read] = read_file(modality, encoded(halves))
    assert read.shape == modality.shape
    colours = read.reshape(8, 6, -1)[..., :3]
    assert (colours[:3] < 10).all()
    assert (colours[5:] > 245).all()


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0), (0.0, 100.0)])
def test_pixels_come_in_the_units_of_the_modality(value_range: tuple[float, float]) -> None:
    low, high = value_range
    modality, pixels = image(8, 6, dtype="float32", value_range=value_range), noise(8, 6)
    [read] = read_file(modality, encoded(pixels))
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, low + (high - low) * pixels / 255, atol=1e-5 * (high - low))
    assert np.array_equal(read_file(GREY, write_png(modality, read))[0], pixels)


def test_values_beyond_the_range_are_written_as_its_ends() -> None:
    values = np.array([[-3.0, 0.0, 0.5, 1.0, 7.0]])
    content = write_png(image(1, 5, dtype="float32", value_range=(0, 1)), values)
    assert read_file(image(1, 5), content).tolist() == [[[0, 0, 128, 255, 255]]]


def test_a_picture_of_zeros_and_ones_is_black_where_it_is_rather_black() -> None:
    read = read_file(
        image(1, 4, dtype="bool", value_range=(0, 1)), encoded(np.array([[0, 1, 200, 255]], np.uint8))
    )
    assert read.tolist() == [[[False, False, True, True]]]


@every_modality
def test_a_grid_has_a_row_per_case_and_a_column_per_sample(modality: Modality) -> None:
    n, across = 2, 3
    values = noise(n, across, *modality.shape)
    with Image.open(io.BytesIO(write_png_grid(modality, values))) as picture:
        grid = np.asarray(picture).reshape(n * 8, across * 6, -1)
    for i in range(n):
        for j in range(across):
            tile = grid[i * 8 : (i + 1) * 8, j * 6 : (j + 1) * 6]
            assert np.array_equal(tile.reshape(modality.shape), values[i, j])


def test_a_picture_in_json_is_base64() -> None:
    pixels = noise(8, 6)
    rows = read_values(GREY, [base64.b64encode(encoded(pixels)).decode(), pixels.tolist()])
    assert np.array_equal(rows, np.stack([pixels] * 2))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_picture_cut_off_is_refused(file_format: str, share: float) -> None:
    content = encoded(noise(40, 30, 3), file_format)
    assert "no readable picture" in refusal(content[: int(share * len(content))])


def test_an_empty_file_is_refused() -> None:
    assert refusal(b"") == "the file is empty"


@pytest.mark.parametrize("content", [b"seven", b"<svg/>", b"%PDF-1.7", b"\0" * 100, b"RIFF\0\0\0\0WAVEfmt "])
def test_what_is_no_picture_is_refused_with_its_first_bytes(content: bytes) -> None:
    sentence = refusal(content)
    assert sentence.startswith("no readable picture (PNG, JPEG, ")
    assert f"{len(content)} bytes that begin with {content[:8]!r}" in sentence


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31, 2**31), (50_000_001, 1)])
def test_a_header_that_claims_too_many_pixels_is_refused_unread(size: tuple[int, int]) -> None:
    width, height = size
    sentence = refusal(png_header(width, height))
    assert sentence == f"a picture may have 50000000 pixels, this one has {width * height}"


@pytest.mark.parametrize("size", [(7000, 7000), (0, 5), (5, 0)])
def test_a_header_that_lies_is_refused(size: tuple[int, int]) -> None:
    assert "no readable picture" in refusal(png_header(*size))


@pytest.mark.parametrize(
    "entry",
    [
        (256, 1, 1, 16),  # a width that is a byte
        (271, 5, 1, 16),  # a maker that is a fraction
        (271, 11, 1, 16),
        (282, 2, 1, 16),  # a resolution that is text
        (296, 4, 2, 16),
        (34665, 16, 1, 2**32 - 1),  # a folder beyond the end
        (700, 11, 1, 16),
    ],
)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged EXIF, which says nothing about the pixels
def test_nonsense_beside_the_orientation_gives_the_picture_or_a_refusal(
    entry: tuple[int, int, int, int],
) -> None:
    stored = noise(6, 8)
    content = encoded(stored, exif=exif_block((ORIENTATION, 3, 1, 6), entry))
    rows = rows_or_refusal(read_file, GREY, content)
    if isinstance(rows, str):
        assert "no readable picture" in rows
    else:
        assert np.array_equal(rows[0], np.rot90(stored, -1))


PICTURES = [
    *(encoded(noise(9, 7, 3), name, exif=turned(6)) for name in ("PNG", "JPEG", "WEBP", "TIFF")),
    *(encoded(noise(9, 7, 3), name) for name in ("GIF", "BMP", "PPM")),
    encoded(noise(9, 7, 3), "TIFF", compression="tiff_lzw"),
    encoded(noise(9, 7, dtype="uint16")),
]


@st.composite
def damaged_pictures(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(PICTURES)))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(content)))
        content[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(content)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged metadata, which says nothing about the pixels
@every_modality
@given(content=damaged_pictures() | st.binary())
def test_any_bytes_give_one_row_or_are_refused(modality: Modality, content: bytes) -> None:
    rows = rows_or_refusal(read_file, modality, content)
    if isinstance(rows, str):
        assert 0 < len(rows) < 400
    else:
        assert rows.shape == (1, *modality.shape)
        assert rows.dtype == np.uint8
