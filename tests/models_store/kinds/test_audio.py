"""A sound has one spectrogram in every file format; a file without sound is refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from models_store.errors import InputRefused
from models_store.kinds import read_file
from models_store.kinds.audio import write_wav
from models_store.manifest import Modality
from tests.conftest import DATA, FULL_DATA
from tests.models_store.examples import NumpyArray, array, audio, rows_or_refusal

SOUND = audio()
WAVS = {path.stem: path for path in sorted((DATA / "fsdd" / "wav").glob("*.wav"))}
every_recording = pytest.mark.parametrize("name", WAVS)


def expected(name: str) -> NumpyArray:
    with np.load(DATA / "fsdd" / "logmel.npz") as archive:
        return np.asarray(archive[name])


def samples(name: str) -> NumpyArray:
    return np.asarray(soundfile.read(WAVS[name], dtype="float64")[0])


def encoded(x: NumpyArray, rate: int = 8000, file_format: str = "WAV", subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, x, rate, subtype, format=file_format)
    return stream.getvalue()


def read(content: bytes, modality: Modality = SOUND) -> NumpyArray:
    [row] = read_file(modality, content)
    return row


def refusal(content: bytes, modality: Modality = SOUND) -> str:
    with pytest.raises(InputRefused) as refused:
        read_file(modality, content)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@every_recording
def test_a_recording_gives_its_published_spectrogram_exactly(name: str) -> None:
    row = read(WAVS[name].read_bytes())
    assert row.dtype == np.uint8
    assert np.array_equal(row, expected(name))


@every_recording
@pytest.mark.parametrize(
    ("file_format", "subtype"),
    [("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("WAV", "FLOAT"), ("WAVEX", "PCM_32")],
)
def test_a_file_without_loss_gives_exactly_the_same(name: str, file_format: str, subtype: str) -> None:
    content = encoded(samples(name), 8000, file_format, subtype)
    assert np.array_equal(read(content), expected(name))


@pytest.mark.skipif(not (FULL_DATA / "fsdd").is_dir(), reason="full FSDD is not there")
def test_all_sixty_recordings_give_their_spectrograms_exactly_as_wav_and_flac() -> None:
    with np.load(FULL_DATA / "fsdd" / "fsdd_logmel32.npz") as archive:
        published = {key: archive[key] for key in archive.files}
    speakers = list(published["speaker_names"])
    paths = sorted((FULL_DATA / "fsdd" / "wav").glob("*.wav"))
    assert len(paths) == 60
    for path in paths:
        digit, speaker, take = path.stem.split("_")
        place = (published["labels"] == int(digit)) & (published["speaker"] == speakers.index(speaker))
        [expected] = published["logmel"][place & (published["index"] == int(take))]
        x = soundfile.read(path, dtype="int16")[0]
        for content in (path.read_bytes(), encoded(x, file_format="FLAC")):
            assert np.array_equal(read(content), expected), path.stem


@every_recording
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_another_rate_gives_nearly_the_same(name: str, rate: int) -> None:
    """Half a level of 255 is 0.16 dB."""
    content = encoded(soxr.resample(samples(name), 8000, rate, "VHQ"), rate)
    off = np.abs(read(content).astype(int) - expected(name))
    assert off.mean() < 0.5
    assert (off > 8).mean() < 0.01


@every_recording
def test_vorbis_gives_nearly_the_same(name: str) -> None:
    off = np.abs(read(encoded(samples(name), file_format="OGG")).astype(int) - expected(name))
    assert off.mean() < 3


@every_recording
def test_channels_are_averaged(name: str) -> None:
    x = samples(name)
    other = np.random.default_rng(0).normal(0, 0.01, x.shape)
    stereo = encoded(np.stack([x + other, x - other], axis=1), subtype="DOUBLE")
    assert np.array_equal(read(stereo), expected(name))


@every_recording
def test_loudness_hardly_matters(name: str) -> None:
    """Only where it is so quiet that the 1e-10 of the recipe is heard."""
    off = np.abs(read(encoded(samples(name) / 2, subtype="DOUBLE")).astype(int) - expected(name))
    assert off.mean() < 0.1


def test_what_comes_after_the_end_does_not_matter() -> None:
    """8192 samples are looked at, wherever they come from."""
    x = np.random.default_rng(0).normal(0, 0.1, 80_000)
    assert np.array_equal(read(encoded(x)), read(encoded(x[:8192])))
    assert np.array_equal(read(encoded(x[:5000])), read(encoded(np.pad(x[:5000], (0, 9000)))))


def test_a_tone_is_loud_in_its_own_band_and_nowhere_else() -> None:
    """Band 15 of 32 is centred where the mel scale of HTK says, at 1137 Hz."""
    tone = np.sin(2 * np.pi * 1137 * np.arange(8192) / 8000)
    row = read(encoded(tone))[:, 16]
    assert row.argmax() == 15
    assert (row[:12] < 128).all()
    assert (row[19:] < 128).all()


def test_levels_are_in_the_units_of_the_modality() -> None:
    name = next(iter(WAVS))
    decibels = audio(dtype="float32", value_range=(-80, 0))
    row = read(WAVS[name].read_bytes(), decibels)
    np.testing.assert_allclose(row, expected(name) / 255 * 80 - 80, atol=1e-5)


@every_recording
@pytest.mark.parametrize(
    "modality", [SOUND, audio(dtype="float32", value_range=(-80, 0))], ids=["levels", "dB"]
)
def test_a_spectrogram_becomes_a_sound_that_has_it(name: str, modality: Modality) -> None:
    row = read(WAVS[name].read_bytes(), modality)
    content = write_wav(modality, row, np.random.default_rng(0))
    x, rate = soundfile.read(io.BytesIO(content))
    assert (x.shape, rate) == ((8192,), 8000)
    assert 0.5 < np.abs(x).max() < 1
    assert np.abs(read(content).astype(int) - expected(name)).mean() < 3


def test_a_sound_is_the_same_from_the_same_seed() -> None:
    row = expected(next(iter(WAVS)))
    first, again, other = (write_wav(SOUND, row, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("level", [0, 7, 255])
def test_any_spectrogram_becomes_a_sound(level: int) -> None:
    content = write_wav(SOUND, np.full((32, 32), level), np.random.default_rng(0))
    assert np.isfinite(soundfile.read(io.BytesIO(content))[0]).all()


def test_an_array_is_a_spectrogram() -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 32, 32), np.uint8))
    assert read_file(SOUND, stream.getvalue()).shape == (2, 32, 32)


NOISE = np.random.default_rng(0).normal(0, 0.1, 100)
TONE = 0.5 * np.sin(np.arange(64_000) / 4)
VORBIS = encoded(TONE, file_format="OGG", subtype="VORBIS")
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the file is empty"),
    "text": (
        b"hello there",
        "no readable sound (WAV, FLAC, OGG, MP3) in 11 bytes that begin with b'hello th'",
    ),
    "a cut header": (encoded(NOISE)[:30], "no readable sound"),
    "half a FLAC": (encoded(np.tile(NOISE, 80), file_format="FLAC")[:5000], "sound"),
    "no samples": (encoded(NOISE[:0]), "the sound has no samples"),
    "silence": (encoded(NOISE * 0), "the sound is silent"),
    "silence before the sound": (
        encoded(np.concatenate([np.zeros(16_000), TONE])),
        "s of the sound are silent, which is the part that is read",
    ),
    "antiphase": (
        encoded(np.stack([TONE, -TONE], axis=1), subtype="FLOAT"),
        "the 2 channels of the sound cancel each other in their mean",
    ),
    "antiphase, rounded": (
        encoded(np.stack([TONE, -TONE * 0.9999], axis=1)),
        "the 2 channels of the sound cancel each other in their mean",
    ),
    "a cut OGG": (VORBIS[: len(VORBIS) * 2 // 3], "the sound is cut: its last OGG page is missing"),
    "half an OGG": (VORBIS[: len(VORBIS) // 2], "the sound is cut: its last OGG page is missing"),
    "AIFF": (encoded(NOISE, file_format="AIFF"), "a sound must be WAV, FLAC, OGG or MP3, got AIFF"),
    "a slow rate": (encoded(NOISE, 100), "1000 to 384000 samples per second, this one has 100"),
    "a fast rate": (encoded(NOISE, 10**6), "384000 samples per second, this one has 1000000"),
    "channels": (encoded(np.zeros((9, 17))), "a sound may have 16 channels, this one has 17"),
    "NaN": (encoded(NOISE * np.nan, subtype="FLOAT"), "samples that are no finite numbers"),
}


@pytest.mark.parametrize(("content", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_sound_is_refused(content: bytes, sentence: str) -> None:
    assert sentence in refusal(content)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_written_to_a_pipe_is_read_to_its_end(size: int) -> None:
    whole = encoded(TONE)
    start = whole.find(b"data")
    field = size.to_bytes(4, "little")
    streamed = b"RIFF" + field + whole[8:start] + b"data" + field + whole[start + 8 :]
    assert np.array_equal(read_file(SOUND, streamed), read_file(SOUND, whole))


@pytest.mark.parametrize(("file_format", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS")])
def test_mp3_and_opus_give_nearly_the_same(file_format: str, subtype: str) -> None:
    x = 0.5 * np.sin(np.arange(48_000) / 20)
    rows = [read_file(SOUND, encoded(x, 48_000, *form)) for form in (("WAV", None), (file_format, subtype))]
    strongest = [row[0].astype(int).sum(axis=1).argmax() for row in rows]
    assert abs(strongest[0] - strongest[1]) <= 1


def test_a_sound_is_refused_where_no_recipe_is_known() -> None:
    content = encoded(NOISE)
    assert "'measured' does not say how its spectrograms are made" in refusal(content, array("audio", 32, 32))


def test_a_long_sound_costs_no_more_than_a_short_one() -> None:
    """An hour of it, of which FLAC makes little: no more than the beginning is decoded."""
    hour = np.zeros(8000 * 3600, np.int16)
    hour[:8192] = np.random.default_rng(0).integers(-3000, 3000, 8192)
    content = encoded(hour, file_format="FLAC")
    assert len(content) < 500_000
    assert np.array_equal(read(content), read(encoded(hour[:8192])))


def headers() -> st.SearchStrategy[bytes]:
    """Real files in which a few bytes are others."""

    def change(content: bytes, changes: dict[int, int]) -> bytes:
        changed = bytearray(content)
        for place, byte in changes.items():
            changed[place % len(changed)] = byte
        return bytes(changed)

    files = [encoded(NOISE, file_format=kind) for kind in ("WAV", "FLAC", "OGG")]
    changes = st.dictionaries(st.integers(0, 200), st.integers(0, 255), max_size=5)
    return st.builds(change, st.sampled_from(files), changes)


@given(content=headers() | st.binary(max_size=300))
def test_any_bytes_give_a_row_or_are_refused(content: Any) -> None:
    rows = rows_or_refusal(read_file, SOUND, content)
    if isinstance(rows, str):
        assert 0 < len(rows) < 400
    else:
        assert rows.shape[1:] == (32, 32)
        assert rows.dtype == np.uint8
