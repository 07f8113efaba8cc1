"""Videos: clips as animated GIFs, resized like pictures and sampled to the manifest's number of frames."""

from __future__ import annotations

import io
from itertools import count

import numpy as np
from PIL import Image

from models_store.arrays import Array
from models_store.errors import UnreadableFile
from models_store.kinds import levels
from models_store.kinds.base import MediaKind, Work
from models_store.kinds.decoding import MAX_PIXELS, MAX_READS, opened
from models_store.kinds.fields import ModalityFields
from models_store.kinds.image import MODES

CHANNELS = (1, 3)
MAX_FRAMES = 10_000
FRAME_MS = 100
"""Duration of a frame in files that are written, and of frames that state none, as browsers show them."""


def read(modality: ModalityFields, content: bytes) -> Array:
    """One row, (frames, H, W) or (frames, H, W, C), from the bytes of a GIF.

    The duration of the clip is divided into as many equal steps as the modality has frames; each step is the
    frame that is shown in its middle. A clip with the right number of equally long frames is read as it is, a
    longer one loses frames, and a shorter one repeats some.

    Raises:
        UnreadableFile: The file is no GIF, damaged, or too large.
    """
    try:
        with _opened(content) as clip:
            ends = np.cumsum(_durations(clip))
            steps = (np.arange(modality.shape[0]) + 0.5) * ends[-1] / modality.shape[0]
            shown = np.searchsorted(ends, steps, side="right")
            frames = {index: _frame(modality, clip, int(index)) for index in np.unique(shown)}
    except UnreadableFile:
        raise
    except Exception as error:  # Pillow's parsers raise exceptions of any type on damaged files
        raise UnreadableFile(
            f"no readable video (GIF) in {len(content)} bytes that begin with {content[:8]!r}: "
            f"{type(error).__name__}"
        ) from None
    row = np.stack([frames[index] for index in shown])
    return levels.to_units(modality, row.reshape(modality.shape))


def _opened(content: bytes) -> Image.Image:
    # the blocks of 255 bytes are read twice, each in two steps
    return opened(content, ("GIF",), MAX_READS + len(content) // 50)


def frames_of(clip: Image.Image) -> int:
    """The number of frames.

    Raises:
        UnreadableFile: There are too many frames or pixels.
    """
    return len(_durations(clip))


def _durations(clip: Image.Image) -> list[int]:
    """Milliseconds of each frame."""
    durations: list[int] = []
    for index in count():
        if index >= MAX_FRAMES or (index + 1) * clip.width * clip.height > MAX_PIXELS:
            raise UnreadableFile(
                f"a video may have {MAX_FRAMES} frames and {MAX_PIXELS} pixels in all of them, this one has "
                f"more: its frames are {clip.width} × {clip.height}"
            )
        try:
            clip.seek(index)
        except EOFError:
            return durations
        durations.append(clip.info.get("duration") or FRAME_MS)
    raise AssertionError("unreachable")


def _frame(modality: ModalityFields, clip: Image.Image, index: int) -> Array:
    """Levels of one frame, (H, W) or (H, W, C)."""
    clip.seek(index)
    height, width, *channels = modality.shape[1:]
    frame = clip.convert(MODES[channels[0] if channels else 1])
    if frame.size != (width, height):
        frame = frame.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(frame, np.uint8)


def write_gif(modality: ModalityFields, frames: Array) -> bytes:
    """A GIF of (frames, H, W) or (frames, H, W, C) that repeats for ever.

    Grey levels are exact; colours are reduced to 256 a frame, which is what the format holds.
    """
    pixels = levels.to_bytes(modality, frames)
    if pixels.ndim == 4 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    first, *others = (Image.fromarray(np.ascontiguousarray(frame)) for frame in pixels)
    stream = io.BytesIO()
    first.save(stream, "GIF", save_all=True, append_images=others, duration=FRAME_MS, loop=0)
    return stream.getvalue()


class VideoKind(MediaKind):
    name = "video"
    files = "A clip (GIF), resized, and sampled to the number of frames"
    media = "image/gif"
    suffix = ".gif"
    noun = "shows one video"
    default_network = "conv"
    layout = 3
    pictures = True
    grids = True
    suffixes = (".gif",)

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 3 or (len(shape) == 4 and shape[3] in CHANNELS)

    def suits_array(self, shape: tuple[int, ...], dtype: str, counted: bool) -> bool:
        picture = len(shape) == 3 and shape[2] in MODES
        return self.fits(shape) and not picture and dtype == "uint8"

    def work(self, content: bytes) -> Work:
        try:
            with _opened(content) as clip:
                durations = _durations(clip)
                return Work(clip.width * clip.height * len(durations))
        except UnreadableFile:
            return Work(MAX_PIXELS + 1)
        except Exception:  # Pillow's parsers raise exceptions of any type on damaged files
            return Work()

    def read(self, modality: ModalityFields, content: bytes) -> Array:
        return read(modality, content)[None]

    def write_row(self, modality: ModalityFields, row: Array, rng: np.random.Generator) -> bytes:
        return write_gif(modality, row)

    def write_grid(self, modality: ModalityFields, samples: Array) -> bytes:
        n, draws, frames, height, width, *channels = samples.shape
        # (n, N, frames, H, W, …) -> (frames, n, H, N, W, …)
        tiles = np.moveaxis(np.moveaxis(samples, 2, 0), 2, 3)
        return write_gif(modality, tiles.reshape(frames, n * height, draws * width, *channels))
