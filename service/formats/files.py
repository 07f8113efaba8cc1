"""Writes samples as files: PNG, WAV, CSV, .npy; one file, or a zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from models_store.arrays import Array
from models_store.errors import listed
from models_store.kinds import MEDIA
from models_store.kinds.base import MediaKind
from models_store.manifest import Manifest, Modality
from service.engine.budget import Allowance
from service.engine.draws import generator
from service.engine.model import Generated
from service.errors import TooLarge, WrongInput
from service.http.response import ZIP

MOST_FILES = 1000
"""Most files of one zip."""


def check(manifest: Manifest, media: str, targets: Sequence[str], rows: int, draws: int) -> None:
    """Checks that a media type can hold the targets, before anything is computed for them.

    Arguments:
        manifest: Manifest of the model.
        media: Media type of the response.
        targets: Names of the targets.
        rows: Number of rows.
        draws: Number of samples per row.

    Raises:
        WrongInput: Not exactly one target is of that media type, or its samples need several files.
        TooLarge: A zip would hold too many files.
    """
    traits = [manifest.modality(name).traits for name in targets]
    if (kind := MEDIA.get(media)) is not None:
        if traits.count(kind) != 1:
            raise WrongInput(
                f"{kind.media} {kind.noun}, but the targets are {listed(targets)}; choose with gen_mod"
            )
        if not kind.grids and (rows, draws) != (1, 1):
            raise WrongInput(
                f"{kind.media} {kind.noun}, but {rows} rows with {draws} samples each were asked for; "
                "application/zip holds many"
            )
    files = 1 + sum(rows * (draws if isinstance(one, MediaKind) else 1) for one in traits)
    if media == ZIP and files > MOST_FILES:
        raise TooLarge(f"a zip may hold {MOST_FILES} files; ask for fewer rows, samples or targets")


def single(manifest: Manifest, generated: Generated, kind: MediaKind, seed: int) -> bytes:
    """Writes the one target of a kind to one file: a grid with a line per row, or one sample."""
    name = next(name for name in generated.targets if manifest.modality(name).traits is kind)
    modality, samples = manifest.modality(name), generated.targets[name]["samples"]
    grid = kind.write_grid(modality, samples)
    return _file(kind, modality, samples[0, 0], seed, 0, 0) if grid is None else grid


def zipped(
    manifest: Manifest, generated: Generated, seed: int, head: Mapping[str, Any], allowance: Allowance
) -> bytes:
    """Writes a zip with the files of every target and row, and the fields of the response in ``answer.json``.

    A picture or a sound has a file per sample, ``image/ROW_SAMPLE.png``; other kinds have a file per row with
    all its samples, ``label/ROW.csv``.

    Raises:
        Stopped: The request is gone.
    """
    files: dict[str, bytes] = {"answer.json": orjson.dumps(head, option=orjson.OPT_INDENT_2)}
    for name, summary in generated.targets.items():
        modality, samples = manifest.modality(name), summary["samples"]
        kind = modality.traits
        for row, draws in enumerate(samples):
            if isinstance(kind, MediaKind):
                for index, sample in enumerate(draws):
                    allowance.check()
                    path = f"{name}/{row}_{index}{kind.suffix}"
                    files[path] = _file(kind, modality, sample, seed, row, index)
            else:
                allowance.check()
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
