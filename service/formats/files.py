"""Samples as files: PNG, WAV, CSV, .npy; one, or a zip of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import orjson

from models_store.errors import listed
from models_store.kinds.base import MediaKind
from models_store.manifest import Manifest, Modality
from service.engine.model import Generated
from service.engine.observations import Array
from service.engine.predictive import generator
from service.errors import TooLarge, WrongInput

MOST_FILES = 1000
"""In one zip."""


def single(manifest: Manifest, generated: Generated, kind: MediaKind, seed: int) -> bytes:
    """One file of the one target of a kind: a grid with a line per row of the request, or one sample.

    Raises:
        WrongInput: Not exactly one target is of that kind, or its samples fill several files.
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
    """A zip with the files of every target and row, and ``answer.json``, which says what they answer.

    A picture or a sound is a file per sample, ``image/ROW_SAMPLE.png``; anything else a file per row with all
    its samples, ``label/ROW.csv``.

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
        for row, own in enumerate(samples):
            if isinstance(kind, MediaKind):
                for index, sample in enumerate(own):
                    path = f"{name}/{row}_{index}{kind.suffix}"
                    files[path] = _file(kind, modality, sample, seed, row, index)
            else:
                suffix, content = kind.write(modality, own)
                files[f"{name}/{row}{suffix}"] = content
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for path, content in files.items():
            # A fixed date, so that the same answer is the same bytes; pictures do not shrink any further.
            packed.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), content)
    return stream.getvalue()


def example(modality: Modality, x: Array) -> tuple[str, bytes] | None:
    """Media type and file of one row; None where it cannot be looked at or heard."""
    kind = modality.traits
    if isinstance(kind, MediaKind) and kind.writable(modality):
        return kind.media, _file(kind, modality, x, 0, 0, 0)
    return None


def _file(kind: MediaKind, modality: Modality, x: Array, seed: int, row: int, index: int) -> bytes:
    return kind.write_row(modality, x, generator(seed, row, f"phase {modality.name} {index}"))
