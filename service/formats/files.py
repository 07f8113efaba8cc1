"""Samples as files: PNG, WAV, CSV, .npy; one, or a zip of them."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from models_store.errors import listed
from models_store.kinds import audio, image, table
from models_store.manifest import Manifest, Modality
from service.engine.model import Generated
from service.engine.observations import Array
from service.engine.predictive import generator
from service.errors import TooLarge, WrongInput
from service.formats.render import PNG, WAV

MOST_FILES = 1000
"""In one zip."""


def picture(manifest: Manifest, generated: Generated) -> bytes:
    """A PNG of the one image target: a row of pictures per row of the request.

    Raises:
        WrongInput: Not exactly one target is an image.
    """
    modality = _only(manifest, generated, "image", "image/png shows one image")
    return image.write_png_grid(modality, generated.targets[modality.name]["samples"])


def sound(manifest: Manifest, generated: Generated, seed: int) -> bytes:
    """A WAV of the one sample of the one audio target.

    Raises:
        WrongInput: There are more of them, or none.
    """
    modality = _only(manifest, generated, "audio", "audio/wav holds one sound")
    samples = generated.targets[modality.name]["samples"]
    if samples.shape[:2] != (1, 1):
        rows, draws = samples.shape[:2]
        raise WrongInput(
            f"audio/wav holds one sound, but {rows} rows with {draws} samples each were asked for; "
            "application/zip holds many"
        )
    return _wav(modality, samples[0, 0], seed, 0, 0)


def zipped(manifest: Manifest, generated: Generated, seed: int, head: Mapping[str, Any]) -> bytes:
    """A zip with the files of every target and row, and ``answer.json``, which says what they answer.

    A picture or a sound is a file per sample, ``image/ROW_SAMPLE.png``; anything else a file per row with all
    its samples, ``label/ROW.csv``.

    Raises:
        TooLarge: There would be too many files.
    """
    files: dict[str, bytes] = {"answer.json": orjson.dumps(head, option=orjson.OPT_INDENT_2)}
    for name, summary in generated.targets.items():
        modality, samples = manifest.modality(name), summary["samples"]
        alone = modality.kind in {"image", "audio"}
        count = len(files) + len(samples) * (samples.shape[1] if alone else 1)
        if count > MOST_FILES:
            raise TooLarge(f"a zip may hold {MOST_FILES} files; ask for fewer rows, samples or targets")
        for row, own in enumerate(samples):
            if alone:
                for index, sample in enumerate(own):
                    suffix, content = _sample(modality, sample, seed, row, index)
                    files[f"{name}/{row}_{index}{suffix}"] = content
            else:
                suffix, content = _samples(modality, own)
                files[f"{name}/{row}{suffix}"] = content
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for path, content in files.items():
            # A fixed date, so that the same answer is the same bytes; pictures do not shrink any further.
            packed.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), content)
    return stream.getvalue()


def example(modality: Modality, x: Array) -> tuple[str, bytes] | None:
    """The media type and the file of one row, where its kind is a picture or a sound that can be heard."""
    if modality.kind == "image":
        return PNG, image.write_png(modality, x)
    if modality.kind == "audio" and modality.spectrogram:
        return WAV, _wav(modality, x, 0, 0, 0)
    return None


def _only(manifest: Manifest, generated: Generated, kind: str, what: str) -> Modality:
    found = [name for name in generated.targets if manifest.modality(name).kind == kind]
    if len(found) != 1:
        raise WrongInput(f"{what}, but the targets are {listed(generated.targets)}; choose with gen_mod")
    return manifest.modality(found[0])


def _sample(modality: Modality, sample: Array, seed: int, row: int, index: int) -> tuple[str, bytes]:
    if modality.kind == "image":
        return ".png", image.write_png(modality, sample)
    return ".wav", _wav(modality, sample, seed, row, index)


def _wav(modality: Modality, sample: Array, seed: int, row: int, index: int) -> bytes:
    return audio.write_wav(modality, sample, generator(seed, row, f"phase {modality.name} {index}"))


def _samples(modality: Modality, samples: Array) -> tuple[str, bytes]:
    """All samples of one row, (N, *shape): a line of a table each, where a row is a line."""
    match modality.kind:
        case "vector" | "counts":
            return ".csv", _csv(table.column_names(modality), samples)
        case "category":  # means are probabilities, draws are indices
            labels = list(modality.labels or ())
            if samples.ndim == 1:
                return ".csv", _csv([modality.name], [[labels[int(index)]] for index in samples])
            return ".csv", _csv(labels, samples)
        case "points":
            numbered = [(draw, *point) for draw, points in enumerate(samples.tolist()) for point in points]
            return ".csv", _csv(["sample", "x", "y"], numbered)
        case _:
            stream = io.BytesIO()
            np.save(stream, samples, allow_pickle=False)
            return ".npy", stream.getvalue()


def _csv(header: Sequence[str], lines: Any) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[_short(cell) for cell in line] for line in lines])
    return stream.getvalue().encode()


def _short(cell: Any) -> Any:
    return f"{cell:.7g}" if isinstance(cell, float | np.floating) else cell
