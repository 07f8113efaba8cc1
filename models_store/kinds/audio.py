r"""Sounds: WAV, FLAC, OGG or MP3 to the spectrogram of the manifest, and back to a WAV.

With x the samples (mean of the channels, resampled, cut or filled with zeros at the end) and W the
triangles of the mel scale (HTK):

.. math:: P = W \, |STFT(x)|^2, \qquad d = 10 \log_{10}(P + 10^{-10}) - \max

clipped at ``floor_db``, spread over 0 … 255 and rounded.

References:
    | Signal Estimation from Modified Short-Time Fourier Transform (Griffin & Lim, 1984)
    | A Fast Griffin-Lim Algorithm (Perraudin, Balazs & Søndergaard, 2013)
"""

from __future__ import annotations

import io
import math
from functools import cache

import numpy as np
import soundfile
import soxr

from models_store.arrays import Array
from models_store.errors import UnreadableFile, first_line
from models_store.kinds import levels
from models_store.kinds.base import MediaKind
from models_store.kinds.fields import ModalityFields, Spectrogram

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")
LOWEST_RATE, HIGHEST_RATE = 1000, 384_000
MOST_CHANNELS = 16
CANCELLED = 1e-4
"""Power of the mean of the channels, relative to the loudest, below which it holds no more than rounding."""
ITERATIONS = 100
"""Iterations of the phase search; more make no audible difference."""
MOMENTUM = 0.99


def read(modality: ModalityFields, content: bytes) -> Array:
    """Read one row, of the modality's shape and dtype, from a sound file.

    Raises:
        UnreadableFile: The file has another format, is damaged or silent, or its rate is out of range.
    """
    recipe = _recipe(modality)
    x = _mono(recipe, content)
    return levels.to_units(modality, _levels(recipe, x))


def write_wav(modality: ModalityFields, values: Array, rng: np.random.Generator) -> bytes:
    """Write a 16-bit WAV whose spectrogram approximates one row of the modality.

    A spectrogram has no phase: it starts at random, and is made consistent.

    Arguments:
        modality: Modality of the row.
        values: (bands, frames), in the modality's units.
        rng: Random generator of the phase.

    Raises:
        UnreadableFile: The manifest has no parameters of the spectrogram.
    """
    recipe = _recipe(modality)
    decibels = (levels.to_bytes(modality, values) / 255 - 1) * -recipe.floor_db
    # A cell at the floor stands for any power below it: use zero, the quietest.
    power = np.where(decibels > recipe.floor_db, 10 ** (decibels / 10), 0.0)
    magnitude = np.sqrt(_unmix(_triangles(recipe), power))
    x = _with_phase(recipe, magnitude, rng)[: recipe.samples]
    loudest = np.abs(x).max() or 1.0
    stream = io.BytesIO()
    soundfile.write(stream, 0.9 * x / loudest, recipe.rate, "PCM_16", format="WAV")
    return stream.getvalue()


# --- from a file to samples --------------------------------------------------------------------------


def _recipe(modality: ModalityFields) -> Spectrogram:
    if modality.spectrogram is None:
        raise UnreadableFile(
            f"'{modality.name}' does not say how its spectrograms are made, so only .npy is known"
        )
    return modality.spectrogram


def _mono(recipe: Spectrogram, content: bytes) -> Array:
    """Decode at most the first ``samples`` samples at the recipe's rate."""
    try:
        with soundfile.SoundFile(io.BytesIO(_with_size(content))) as sound:
            _check(sound, content)
            # a tenth of a second more, since a resampled sound fades at its end
            seconds = recipe.samples / recipe.rate + 0.1
            length = min(math.ceil(seconds * sound.samplerate), sound.frames)
            channels = sound.read(length, dtype="float64", always_2d=True)
            rate = sound.samplerate
            frames = sound.frames
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as error:
        raise UnreadableFile(
            f"no readable sound (WAV, FLAC, OGG, MP3) in {len(content)} bytes that begin with "
            f"{content[:8]!r}: {_reason(error)}"
        ) from None
    if len(channels) < length:
        raise UnreadableFile(f"the sound ends after {len(channels)} of {length} samples")
    if not np.isfinite(channels).all():
        raise UnreadableFile("the sound has samples that are no finite numbers")
    x = channels.mean(axis=1)
    cut = (x if rate == recipe.rate else soxr.resample(x, rate, recipe.rate, "VHQ"))[: recipe.samples]
    if not cut.any() or np.square(x).sum() < CANCELLED * np.square(channels).sum(0).max():
        raise UnreadableFile(
            _silence(channels[: math.ceil(recipe.samples / recipe.rate * rate)], frames, rate)
        )
    return cut


def _silence(channels: Array, frames: int, rate: int) -> str:
    """Reason that the part of a sound that is read is silent."""
    if channels.any():
        return (
            f"the {channels.shape[1]} channels of the sound cancel each other in their mean; invert the "
            "phase of one, or send one channel"
        )
    relative = "and a spectrogram is relative to its loudest moment"
    if frames <= len(channels):
        return f"the sound is silent, {relative}"
    return (
        f"the first {len(channels) / rate:.3g} s of the sound are silent, which is the part that is read, "
        f"{relative}; cut the silence at its beginning"
    )


def _with_size(content: bytes) -> bytes:
    """A WAV that was written to a pipe, with the size of its samples instead of 0."""
    start = content.find(b"data\0\0\0\0", 12)
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE" or start < 0:
        return content
    walk = 12
    while walk < start:  # only a chunk of that name, not the same bytes in another one
        walk += 8 + int.from_bytes(content[walk + 4 : walk + 8], "little") + 1 & ~1
    size = len(content) - start - 8
    if walk != start or not size:
        return content
    return b"".join(
        (
            b"RIFF",
            (len(content) - 8).to_bytes(4, "little"),
            content[8 : start + 4],
            size.to_bytes(4, "little"),
            content[start + 8 :],
        )
    )


def _check(sound: soundfile.SoundFile, content: bytes) -> None:
    if sound.format not in FORMATS:
        raise UnreadableFile(f"a sound must be WAV, FLAC, OGG or MP3, got {sound.format}")
    if not LOWEST_RATE <= sound.samplerate <= HIGHEST_RATE:
        raise UnreadableFile(
            f"a sound may have {LOWEST_RATE} to {HIGHEST_RATE} samples per second, "
            f"this one has {sound.samplerate}"
        )
    if sound.channels > MOST_CHANNELS:
        raise UnreadableFile(f"a sound may have {MOST_CHANNELS} channels, this one has {sound.channels}")
    if sound.frames <= 0:
        cut = sound.format == "OGG" and not _has_last_page(content)
        raise UnreadableFile(
            "the sound is cut: its last OGG page is missing; send the whole file"
            if cut
            else "the sound has no samples"
        )


def _has_last_page(content: bytes) -> bool:
    """Whether the last page of an OGG is marked as the end of its stream (RFC 3533, section 6)."""
    start = content.rfind(b"OggS")
    return start >= 0 and bool(content[start + 5 : start + 6][:1] > b"\x03")


def _reason(error: Exception) -> str:
    # libsndfile says "Error opening <_io.BytesIO object at …>: Format not recognised."
    return first_line(error).rpartition(": ")[2]


# --- from samples to levels, and back ------------------------------------------------------------------


def _levels(recipe: Spectrogram, x: Array) -> Array:
    power = np.abs(_transform(recipe, x)) ** 2  # (frames, bins)
    decibels = 10 * np.log10(_triangles(recipe) @ power.T + 1e-10)
    below_peak = np.clip(decibels - decibels.max(), recipe.floor_db, 0)
    return np.rint((1 - below_peak / recipe.floor_db) * 255).astype(np.uint8)


def _transform(recipe: Spectrogram, x: Array) -> Array:
    """The short-time Fourier transform, frames centred: (frames, bins)."""
    padded = np.zeros((recipe.frames - 1) * recipe.hop + recipe.window)
    begin = recipe.window // 2
    piece = x[: len(padded) - begin]
    padded[begin : begin + len(piece)] = piece
    frames = np.lib.stride_tricks.sliding_window_view(padded, recipe.window)[:: recipe.hop]
    return np.fft.rfft(frames * _hann(recipe.window))


def _inverse(recipe: Spectrogram, transform: Array) -> Array:
    """The samples whose transform is nearest (least squares)."""
    frames = np.fft.irfft(transform, recipe.window) * _hann(recipe.window)
    summed, weight = np.zeros((2, (recipe.frames - 1) * recipe.hop + recipe.window))
    for index, frame in enumerate(frames):
        place = slice(index * recipe.hop, index * recipe.hop + recipe.window)
        summed[place] += frame
        weight[place] += _hann(recipe.window) ** 2
    return (summed / np.maximum(weight, 1e-8))[recipe.window // 2 :]


def _with_phase(recipe: Spectrogram, magnitude: Array, rng: np.random.Generator) -> Array:
    """Samples whose transform has about that magnitude, (bins, frames): fast Griffin-Lim."""
    target_magnitude = magnitude.T
    guess = target_magnitude * np.exp(2j * np.pi * rng.random(target_magnitude.shape))
    before = np.zeros_like(guess)
    for _ in range(ITERATIONS):
        consistent = _transform(recipe, _inverse(recipe, guess)[: recipe.samples])
        ahead = consistent + MOMENTUM * (consistent - before)
        before = consistent
        guess = target_magnitude * ahead / np.maximum(np.abs(ahead), 1e-12)
    return _inverse(recipe, guess)


def _unmix(triangles: Array, power: Array) -> Array:
    """Power per bin, none negative, that gives power per band (multiplicative least squares)."""
    estimate = triangles.T @ power
    for _ in range(ITERATIONS):
        estimate *= (triangles.T @ power) / np.maximum(triangles.T @ (triangles @ estimate), 1e-20)
    return estimate


@cache
def _triangles(recipe: Spectrogram) -> Array:
    """(bands, bins): triangles of height 1, evenly spaced on the mel scale of HTK."""

    def mel(frequency: float) -> float:
        return 2595 * math.log10(1 + frequency / 700)

    corners = 700 * (10 ** (np.linspace(mel(recipe.f_min), mel(recipe.f_max), recipe.bands + 2) / 2595) - 1)
    low, centre, high = (corners[start : start + recipe.bands, None] for start in range(3))
    frequency = np.fft.rfftfreq(recipe.window, 1 / recipe.rate)
    triangles: Array = np.maximum(
        0, np.minimum((frequency - low) / (centre - low), (high - frequency) / (high - centre))
    )
    return triangles


@cache
def _hann(window: int) -> Array:
    """Periodic Hann window, whose shifted copies sum to a constant."""
    curve: Array = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return curve


class AudioKind(MediaKind):
    name = "audio"
    files = "A sound (WAV, FLAC, OGG, MP3), mixed down and resampled"
    fields = frozenset({"spectrogram"})
    media = "audio/wav"
    suffix = ".wav"
    noun = "holds one sound"
    suffixes = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
    layout = 2

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 2

    def read(self, modality: ModalityFields, content: bytes) -> Array:
        return read(modality, content)[None]

    def writable(self, modality: ModalityFields) -> bool:
        return modality.spectrogram is not None

    def write_row(self, modality: ModalityFields, row: Array, rng: np.random.Generator) -> bytes:
        return write_wav(modality, row, rng)
