"""Shapes of rows guessed from files that a column names: pictures, sounds and arrays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from models_store.errors import InputRefused, UnreadableFile, first_line
from models_store.kinds import KINDS, arrays
from models_store.kinds.base import LFS_POINTER
from models_store.kinds.fields import ModalityFields, Spectrogram
from models_store.kinds.image import FORMATS, is_transparent
from models_store.kinds.video import frames_of
from training.errors import DataError

LARGEST_SIDE = 64
"""Longest side of a picture in pixels that ``init`` proposes."""

MOST_NAMED = 3
"""Damaged files that a sentence names."""
MOST_FRAMES = 16
"""Frames of a video that ``init`` proposes at most."""


@dataclass(frozen=True)
class Files:
    """Shape of the rows in some files.

    Arguments:
        settings: The key in the experiment file that states it.
        shape: Of one row.
    """

    settings: Mapping[str, Any]
    shape: tuple[int, ...]


def pictures(paths: Sequence[Path]) -> Files:
    """The median height and width, at most ``LARGEST_SIDE``, with colours if any picture has them."""
    shape = _picture_shape(paths)
    return Files({"shape": list(shape)}, shape)


def clips(paths: Sequence[Path]) -> Files | None:
    """The median size and number of frames, with colours if a first frame has them; None if nothing moves."""
    numbers, colour, reason = [], False, ""
    for path in paths:
        try:
            with Image.open(path, formats=("GIF",)) as clip:
                red, green, blue = np.moveaxis(np.asarray(clip.convert("RGB")), -1, 0)
                colour |= bool((red != green).any() or (green != blue).any())
                numbers.append(frames_of(clip))
        except Exception as error:  # Pillow's parsers raise exceptions of any type on damaged files
            reason = _reason(path, "video", error)
    if not numbers:
        raise DataError(reason)
    if max(numbers) == 1:
        return None
    frames = min(MOST_FRAMES, max(1, round(float(np.median(numbers)))))
    shape = (frames, *_picture_shape(paths)[:2], *((3,) if colour else ()))
    return Files({"shape": list(shape)}, shape)


def sounds(paths: Sequence[Path]) -> Files:
    """A spectrogram for the lowest rate and the longest sound."""
    sound = _spectrogram(paths)
    return Files({"spectrogram": sound.model_dump()}, (sound.bands, sound.frames))


def tensors(paths: Sequence[Path]) -> Files:
    """The shape that most files have, without a row axis where that is 1 in all of them."""
    shapes, reason = [], ""
    for path in paths:
        try:
            shapes.append(arrays.read_npy(path.read_bytes()).shape)
        except UnreadableFile as error:  # a missing entry, if others can be read
            reason = _reason(path, "array", error)
    if not shapes:
        raise DataError(reason)
    shape = Counter(shapes).most_common(1)[0][0]
    if len(shape) > 1 and all(one[:1] == (1,) for one in shapes):
        shape = shape[1:]
    return Files({"shape": list(shape)}, shape)


def _reason(path: Path, noun: str, error: Exception) -> str:
    """Sentence on a file that cannot be read."""
    with path.open("rb") as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            return f"{path} is a pointer of Git LFS, not its content; run git lfs pull"
    return f"{path} is no readable {noun}: {first_line(error)}"


FILES: Mapping[str, Callable[[Sequence[Path]], Files | None]] = {
    "audio": sounds,
    "tensor": tensors,
    "video": clips,
    "image": pictures,
}
"""By kind, in the order in which they are tried; None where files with that suffix are of another kind."""


def remarks_on(kind: str, files: Files, paths: Sequence[Path]) -> list[str]:
    """Sentences on files that cannot be read, on transparent pictures, and on those of several pages.

    Raises:
        DataError: None of the files can be read; see :func:`_unreadable`.
    """
    remarks = []
    damage = _unreadable(kind, files, paths)
    if len(damage) == len(paths):
        raise DataError(damage[0])
    if damage:
        damaged = "; ".join(damage[:MOST_NAMED])
        remarks.append(
            f"of the first {len(paths)}, {len(damage)} cannot be read and so are missing: {damaged}"
        )
    transparent = sum(is_transparent(path.read_bytes()) for path in paths) if _is_still(kind) else 0
    if transparent:
        remarks.append(
            f"of the first {len(paths)}, {transparent} are transparent: where the colour is flat, alpha is "
            "read as the drawing, others are drawn on the background of opaque ones, white without such"
        )
    if paged := sum(map(_has_pages, paths)) if _is_still(kind) else 0:
        remarks.append(f"of the first {len(paths)}, {paged} have several pages or frames; the first is read")
    return remarks


def _has_pages(path: Path) -> bool:
    """Whether a picture has further pages or frames."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except Exception:  # reported as unreadable; Pillow raises any type
        return False


def _is_still(kind: str) -> bool:
    return KINDS[kind].pictures and KINDS[kind].layout == 2


def _unreadable(kind: str, files: Files, paths: Sequence[Path]) -> list[str]:
    """A sentence for each of some files from which no row can be read.

    Arguments:
        kind: Kind of the modality.
        files: Shape of its rows.
        paths: The files.
    """
    reader = KINDS[kind]
    modality = ModalityFields(
        name="file",
        kind=kind,
        shape=files.shape,
        dtype="uint8" if reader.levels else "float32",
        likelihood=reader.usual_likelihood,
        range=(0, 255) if reader.levels else None,
        spectrogram=files.settings.get("spectrogram"),
    )
    reasons = []
    for path in paths:
        try:
            reader.read_file(modality, path.read_bytes())
        except (InputRefused, OSError) as error:
            reasons.append(f"{path.name}: {error}")
    return reasons


def _picture_shape(paths: Sequence[Path]) -> tuple[int, ...]:
    """The middle height and width of some pictures, made smaller if need be, with colours if any has."""
    sizes, colour, reason = [], False, ""
    for path in paths:
        try:
            with Image.open(path, formats=FORMATS) as picture:
                sizes.append((picture.height, picture.width))
                colour |= picture.mode not in ("1", "L", "LA", "I", "I;16", "I;16B", "F")
        except Exception as error:  # a missing entry, if others can be read; Pillow raises any type
            reason = _reason(path, "picture", error)
    if not sizes:
        raise DataError(reason)
    height, width = np.median(sizes, axis=0)
    factor = min(1.0, LARGEST_SIDE / max(height, width))
    return (max(1, round(height * factor)), max(1, round(width * factor)), *((3,) if colour else ()))


def _spectrogram(paths: Sequence[Path]) -> Spectrogram:
    """Frames of 32 ms for about as long as the longest of some sounds, at most 64 of them."""
    sounds, reason = [], ""
    for path in paths:
        try:
            sounds.append(soundfile.info(str(path)))
        except soundfile.LibsndfileError as error:  # a missing entry, if others can be read
            reason = _reason(path, "sound", error)
    if not sounds:
        raise DataError(reason)
    rate = min(sound.samplerate for sound in sounds)
    hop = 2 ** round(math.log2(rate * 0.032))
    longest = max(sound.duration for sound in sounds) * rate
    frames = min(64, max(8, math.ceil(longest / hop)))
    return Spectrogram(
        rate=rate,
        samples=frames * hop,
        window=2 * hop,
        hop=hop,
        frames=frames,
        bands=32,
        f_min=50,
        f_max=rate / 2,
        floor_db=-80,
    )
