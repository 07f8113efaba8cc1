"""Writes samples as files: PNG, WAV, CSV, .npy; one file, or a zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import orjson

from models_store.arrays import Array
from models_store.errors import listed
from models_store.kinds.base import MediaKind
from models_store.manifest import Manifest, Modality
from service.engine.draws import generator
from service.engine.model import Generated
from service.errors import TooLarge, WrongInput

MOST_FILES = 1000
"""Most files of one zip."""


def single(manifest: Manifest, generated: Generated, kind: MediaKind, seed: int) -> bytes:
    """Writes the one target of a kind to one file: a grid with a line per row of the request, or one sample.

    Raises:
        WrongInput: Not exactly one target is of that kind, or its samples need several files.
    """
    names = [name for name in generated.targets if manifest.modality(name).traits is kind]
    if len(names) != 1:
        raise WrongInput(
            f"{kind.media} {kind.noun}, but the targets are {listed(generated.targets)}; choose with gen_mod"
        )
    modality, samples = manifest.modality(names[0]), generated.targets[names[0]]["samples"]
    if (grid := kind.write_grid(modality, samples)) is not None:
        return grid
    if samples.shape[:2] != (1, 1):
        rows, draws = samples.shape[:2]
        raise WrongInput(
            f"{kind.media} {kind.noun}, but {rows} rows with {draws} samples each were asked for; "
            "application/zip holds many"
        )
    return _file(kind, modality, samples[0, 0], seed, 0, 0)


def zipped(manifest: Manifest, generated: Generated, seed: int, head: Mapping[str, Any]) -> bytes:
    """Writes a zip with the files of every target and row, and the fields of the response in ``answer.json``.

    A picture or a sound has a file per sample, ``image/ROW_SAMPLE.png``; other kinds have a file per row with
    all its samples, ``label/ROW.csv``.

    Raises:
        TooLarge: There would be too many files.
    """
    files: dict[str, bytes] = {"answer.json": orjson.dumps(head, option=orjson.OPT_INDENT_2)}
    for name, summary in generated.targets.items():
        modality, samples = manifest.modality(name), summary["samples"]
        kind = modality.traits
        alone = isinstance(kind, MediaKind)
        count = len(files) + len(samples) * (samples.shape[1] if alone else 1)
        if count > MOST_FILES:
            raise TooLarge(f"a zip may hold {MOST_FILES} files; ask for fewer rows, samples or targets")
        for row, draws in enumerate(samples):
            if isinstance(kind, MediaKind):
                for index, sample in enumerate(draws):
                    path = f"{name}/{row}_{index}{kind.suffix}"
                    files[path] = _file(kind, modality, sample, seed, row, index)
            else:
                suffix, content = kind.write(modality, draws)
                files[f"{name}/{row}{suffix}"] = content
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for path, content in files.items():
            # A fixed date makes equal answers equal bytes. Pictures are compressed already.
            packed.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), content)
    return stream.getvalue()


def example(modality: Modality, x: Array) -> tuple[str, bytes] | None:
    """Returns media type and file of one row; None for kinds that are no picture or sound."""
    kind = modality.traits
    if isinstance(kind, MediaKind) and kind.writable(modality):
        return kind.media, _file(kind, modality, x, 0, 0, 0)
    return None


def _file(kind: MediaKind, modality: Modality, x: Array, seed: int, row: int, index: int) -> bytes:
    return kind.write_row(modality, x, generator(seed, row, f"phase {modality.name} {index}"))
