"""Pictures as people have them: transparency, unusual depths, damaged metadata; the same pixels are read."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from models_store.errors import InputRefused
from models_store.kinds import heif, read_file
from models_store.kinds.image import work
from tests.conftest import DATA
from tests.models_store.examples import NumpyArray, image

CONTENT = (DATA / "seven.png").read_bytes()
SEVEN = np.asarray(Image.open(io.BytesIO(CONTENT)).convert("L"))
GREY, COLOUR = image(28, 28), image(28, 28, 3)


def encoded(picture: Image.Image | NumpyArray, file_format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    made = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    made.save(stream, file_format, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def with_chunk(made: bytes) -> bytes:
    """The seven with a chunk after its header."""
    plain = encoded(SEVEN)
    return plain[:33] + made + plain[33:]


def ink(level: int, *, colours: int = 3) -> NumpyArray:
    """A flat colour, and the seven in alpha."""
    return np.dstack([np.full_like(SEVEN, level)] * colours + [SEVEN])


def mad(content: bytes, expected: NumpyArray = SEVEN) -> float:
    """Mean absolute difference to the expected grey levels."""
    return float(np.abs(read_file(GREY, content)[0].astype(int) - expected).mean())


# --- transparency ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 90, 255])
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_the_ink_where_the_colour_is_flat(level: int, colours: int, file_format: str) -> None:
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    assert mad(encoded(ink(level, colours=colours), file_format, **options)) == 0


def test_colours_of_invisible_pixels_do_not_count() -> None:
    values = ink(255)
    values[SEVEN < 20, :3] = np.random.default_rng(0).integers(0, 255, ((SEVEN < 20).sum(), 3))
    assert mad(encoded(values)) == 0


@pytest.mark.parametrize("colour", [0, 255])
def test_a_transparent_entry_of_a_palette_is_the_background(colour: int) -> None:
    picture = Image.fromarray((SEVEN > 127).astype(np.uint8)).convert("P")
    picture.putpalette([colour] * 6 + [0] * 762)
    content = encoded(picture, transparency=0)
    assert mad(content, np.where(SEVEN > 127, 255, 0)) == 0


def test_alpha_stays_the_ink_in_a_large_picture() -> None:
    large = np.asarray(Image.fromarray(SEVEN).resize((280, 280), Image.Resampling.BICUBIC))
    assert mad(encoded(np.dstack([np.full_like(large, 255)] * 3 + [large]))) < 3


@pytest.mark.parametrize(("background", "expected"), [(255, 255 - SEVEN), (0, SEVEN), (None, SEVEN)])
@pytest.mark.parametrize("level", [0, 255])
def test_ink_differs_from_the_background_of_the_modality(
    background: int | None, expected: NumpyArray, level: int
) -> None:
    modality = GREY.with_changes({"background": background})
    assert np.array_equal(read_file(modality, encoded(ink(level)))[0], expected)


@pytest.mark.parametrize(("background", "level"), [(None, 255), (255, 255), (0, 0), (100, 100)])
def test_a_picture_of_several_colours_is_composited_on_the_background(
    background: int | None, level: int
) -> None:
    values = np.zeros((28, 28, 4), np.uint8)
    values[:14] = (255, 0, 0, 255)
    values[14:20] = (0, 0, 255, 128)
    [row] = read_file(COLOUR.with_changes({"background": background}), encoded(values))
    assert (row[:14] == (255, 0, 0)).all()
    assert np.abs(row[15].astype(int) - np.array([level / 2, level / 2, 127 + level / 2])).max() <= 1
    assert (row[20:] == level).all()


def test_a_flat_colour_is_kept_in_a_modality_with_colours() -> None:
    values = ink(0)
    values[..., 0] = 255
    [row] = read_file(COLOUR, encoded(values))
    assert np.abs(row[..., 0].astype(int) - 255).max() == 0
    assert np.array_equal(row[..., 1], 255 - SEVEN)


def test_an_opaque_alpha_changes_nothing() -> None:
    assert mad(encoded(np.dstack([SEVEN] * 3 + [np.full_like(SEVEN, 255)]))) == 0


# --- depth -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_that_hold_fewer_are_scaled_by_their_values(bits: int, file_format: str) -> None:
    values = np.rint(SEVEN / 255 * (2**bits - 1)).astype(np.uint16)
    assert mad(encoded(values, file_format)) <= 1


@pytest.mark.parametrize("highest", [1, 255, 4095, 65535])
def test_whole_numbers_of_32_bits_are_scaled_by_their_values(highest: int) -> None:
    values = np.rint(SEVEN / 255 * highest).astype(np.int32)
    expected = SEVEN if highest > 1 else 255 * np.rint(SEVEN / 255)
    assert mad(encoded(values, "TIFF"), expected) <= 1


@pytest.mark.parametrize("highest", [1, 255, 65535])
def test_floats_are_scaled_by_their_values(highest: int) -> None:
    assert mad(encoded((SEVEN / 255 * highest).astype(np.float32), "TIFF")) <= 1


def test_what_the_file_states_comes_before_its_values() -> None:
    values = (SEVEN // 4).astype(np.uint16) * 16  # a dark picture of 12 bits
    content = encoded(values, "TIFF", tiffinfo={281: 4095})
    assert mad(content, SEVEN // 4) <= 1


@pytest.mark.parametrize("values", [[-1, 200], [0, 70000]])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_another_range_is_refused_with_the_remedy(values: list[int], dtype: Any) -> None:
    content = encoded(np.array([values], dtype), "TIFF")
    with pytest.raises(InputRefused, match=rf"from {values[0]} to {values[1]}; scale it, or save it with 8"):
        read_file(GREY, content)


def test_floats_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputRefused, match="NaN or infinity"):
        read_file(GREY, encoded(np.array([[0, np.nan]], np.float32), "TIFF"))


# --- metadata ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"tEXt", b"iTXt", b"zTXt", b"iCCP", b"gAMA", b"pHYs", b"eXIf", b"tIME"])
def test_an_ancillary_chunk_with_a_wrong_checksum_is_ignored(name: bytes) -> None:
    damaged = bytearray(chunk(name, b"a\0b"))
    damaged[-1] ^= 1
    assert mad(with_chunk(bytes(damaged))) == 0


@pytest.mark.parametrize(
    "made",
    [
        chunk(b"zTXt", b"k\0\0" + zlib.compress(b" " * 3_000_000)),
        chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(b" " * 3_000_000)),
        chunk(b"tEXt", b"k\0" + b" " * 3_000_000),
        chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"x" * 3_000_000)),
    ],
    ids=["zTXt", "iTXt", "tEXt", "iCCP"],
)
def test_megabytes_of_metadata_do_not_matter(made: bytes) -> None:
    assert mad(with_chunk(made)) == 0


def test_a_picture_stays_upright_and_transparent_without_its_metadata() -> None:
    exif = Image.Exif()
    exif[274] = 6
    info = PngImagePlugin.PngInfo()
    info.add_text("k", " " * 3_000_000, zip=True)
    stored = np.rot90(ink(255))
    assert mad(encoded(np.ascontiguousarray(stored), exif=exif, pnginfo=info)) == 0


def test_damaged_pixels_stay_refused() -> None:
    content = bytearray(encoded(SEVEN))
    content[content.index(b"IDAT") + 30] ^= 1
    with pytest.raises(InputRefused, match="no readable picture"):
        read_file(GREY, bytes(content))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_marker_is_read(progressive: bool, missing: int) -> None:
    large = Image.fromarray(SEVEN).resize((280, 280))
    content = encoded(large, "JPEG", progressive=progressive, quality=85)
    whole = read_file(GREY, content)
    assert np.array_equal(read_file(GREY, content[:-missing]), whole)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [40, 200, 1000])
def test_a_jpeg_without_its_last_blocks_is_refused(progressive: bool, missing: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (280, 280), np.uint8)
    content = encoded(noise, "JPEG", progressive=progressive, quality=85)
    with pytest.raises(InputRefused, match="truncated"):
        read_file(GREY, content[:-missing])


def test_avif_is_read() -> None:
    assert mad(encoded(np.dstack([SEVEN] * 3), "AVIF", quality=95)) < 3


def test_heic_is_read_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned; the file says so in its Exif and, which counts, in a property
    upright = encoded(np.dstack([SEVEN] * 3), "HEIF", quality=95)
    turned = encoded(np.dstack([np.rot90(SEVEN)] * 3), "HEIF", quality=95, exif=exif.tobytes())
    assert upright[4:12] == b"ftypheic"
    assert mad(upright) < 3
    assert mad(turned) < 3
    assert work(upright) == (784, 5)
    with pytest.raises(InputRefused, match="no readable picture"):
        read_file(GREY, upright[: len(upright) // 2])


def test_heic_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(np.dstack([SEVEN] * 3), "HEIF")
    monkeypatch.setattr(heif, "FORMATS", ())
    monkeypatch.setattr("models_store.kinds.image.FORMATS", ("PNG", "AVIF"))
    with pytest.raises(InputRefused, match=r"it is a HEIC picture; save it as .* or install anyview\[heic\]"):
        read_file(GREY, content)
    with pytest.raises(InputRefused, match="not recognised"):
        read_file(GREY, b"\0\0\0\x1cftypqt  ")


def test_pixels_are_counted_by_the_header() -> None:
    assert work(CONTENT) == (784, 1)
    assert work(b"nothing").pixels == 0
