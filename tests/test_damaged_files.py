"""Damaged files of every format are read or refused in one sentence: by init, fit, impute, the service."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image
from pyarrow import parquet
from scipy.sparse import csc_matrix

from models_store.errors import InputRefused, ModelsStoreError
from models_store.folder import open_bundle
from models_store.kinds import read_file
from models_store.kinds.fields import Spectrogram
from models_store.manifest import Modality
from models_store.tables.matching import read_matched
from tests.conftest import DATA
from tests.round_trip import imputed, publish_for
from training.config import read_experiment
from training.data import prepare
from training.errors import TrainingError
from training.tables.guess import experiment_for

SEED = int(os.environ.get("ANYVIEW_FUZZ_SEED", "0"))
ROUNDS = int(os.environ.get("ANYVIEW_FUZZ_ROUNDS", "12"))
"""Damaged files of each format; more in a long run."""
ROWS = 30
LONGEST = 1000
"""Characters of a refusal."""
RNG = np.random.default_rng(0)
COLUMNS = {
    "size": RNG.normal(10, 2, ROWS).round(3).tolist(),
    "dose": np.exp(RNG.normal(1, 1, ROWS)).round(3).tolist(),
    "sex": ["fm"[row % 2] for row in range(ROWS)],
    "visits": RNG.poisson(2, ROWS).tolist(),
}
RATE = 8000


def csv() -> bytes:
    lines = [",".join(COLUMNS), *(",".join(map(str, row)) for row in zip(*COLUMNS.values(), strict=True))]
    return "\n".join(lines).encode()


def german_csv() -> bytes:
    return csv().replace(b",", b";").replace(b".", b",")


def csv_with_units() -> bytes:
    lines = [f"{size} kg,${dose:.2f},{sex}" for size, dose, sex, _ in zip(*COLUMNS.values(), strict=True)]
    return "\n".join(["size,price,sex", *lines]).encode()


def gzipped_csv() -> bytes:
    return gzip.compress(csv(), mtime=0)


def json_lines() -> bytes:
    rows = zip(*COLUMNS.values(), strict=True)
    return b"\n".join(json.dumps(dict(zip(COLUMNS, row, strict=True))).encode() for row in rows)


def parquet_file() -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.table(COLUMNS), stream, compression="zstd")
    return stream.getvalue()


def excel() -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book, stream = openpyxl.Workbook(), io.BytesIO()
    for row in [list(COLUMNS), *zip(*COLUMNS.values(), strict=True)]:
        book.active.append(row)
    book.save(stream)
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=RNG.normal(size=(ROWS, 4)), y=np.arange(ROWS) % 3)
    return stream.getvalue()


def npz_of_pictures() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, image=RNG.integers(0, 4000, (ROWS, 8, 8)).astype(np.uint16), y=np.arange(ROWS) % 3)
    return stream.getvalue()


def h5ad() -> bytes:
    """An AnnData whose matrix is stored by columns."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs["encoding-type"] = "anndata"
        matrix = csc_matrix(RNG.poisson(1.0, (ROWS, 4)).astype(np.float32))
        x, obs = file.create_group("X"), file.create_group("obs")
        x.attrs.update({"encoding-type": "csc_matrix", "shape": matrix.shape})
        x["data"], x["indices"], x["indptr"] = matrix.data, matrix.indices, matrix.indptr
        obs.attrs.update({"_index": "_index", "column-order": ["kind"]})
        obs["_index"], obs["kind"] = (
            [f"c{row}" for row in range(ROWS)],
            ["ab"[row % 2] for row in range(ROWS)],
        )
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, RNG.normal(size=(ROWS, 3)))
    return stream.getvalue()


def picture(suffix: str) -> bytes:
    stream = io.BytesIO()
    pixels = np.add.outer(np.arange(24), 3 * np.arange(20)).astype(np.uint8)
    frames = [Image.fromarray(np.roll(pixels, shift, 1)) for shift in range(3)]
    options = {"save_all": True, "append_images": frames[1:]} if suffix == "gif" else {}
    frames[0].save(stream, {"jpg": "JPEG"}.get(suffix, suffix.upper()), **options)
    return stream.getvalue()


def sound(suffix: str) -> bytes:
    stream = io.BytesIO()
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)
    soundfile.write(stream, tone, RATE, format=suffix.upper())
    return stream.getvalue()


TABLES: dict[str, Callable[[], bytes]] = {
    "csv": csv,
    "german.csv": german_csv,
    "units.csv": csv_with_units,
    "csv.gz": gzipped_csv,
    "jsonl": json_lines,
    "parquet": parquet_file,
    "xlsx": excel,
}
ARRAYS: dict[str, Callable[[], bytes]] = {
    "npz": npz,
    "npy": npy,
    "pictures.npz": npz_of_pictures,
    "h5ad": h5ad,
    "h5mu": (DATA / "cells.h5mu").read_bytes,
}
MEDIA: dict[str, tuple[Callable[[str], bytes], Modality]] = {
    suffix: (
        picture,
        Modality(name="m", kind=kind, shape=shape, dtype="uint8", likelihood="bernoulli", range=(0, 255)),
    )
    for suffix, kind, shape in (
        ("png", "image", (8, 8)),
        ("jpg", "image", (8, 8, 3)),
        ("webp", "image", (8, 8)),
        ("tiff", "image", (8, 8)),
        ("bmp", "image", (8, 8)),
        ("heif", "image", (8, 8, 3)),
        ("gif", "video", (3, 8, 8)),
    )
}
SPECTROGRAM = Spectrogram(
    rate=RATE, samples=4096, window=512, hop=256, frames=16, bands=8, f_min=50, f_max=4000, floor_db=-80
)
MEDIA |= {
    suffix: (
        sound,
        Modality(
            name="m",
            kind="audio",
            shape=(8, 16),
            dtype="uint8",
            likelihood="bernoulli",
            range=(0, 255),
            spectrogram=SPECTROGRAM,
        ),
    )
    for suffix in ("wav", "flac", "ogg", "mp3")
}


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A file of which bytes are changed, removed, repeated or cut off."""
    content = bytearray(whole)
    for _ in range(draw.randint(1, 6)):
        at, size = draw.randrange(len(content) or 1), draw.randint(1, 40)
        match draw.randrange(6):
            case 0:
                content[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                content[at : at + size] = b""
            case 2:
                content[at:at] = content[at : at + size]
            case 3:
                content[at : at + 4] = draw.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
            case 4:
                content[at:at] = draw.choice(
                    [b'"', b"\n", b",", b";", b"\0", b"nan", b"1e999", b"\xc3", b"-", b"{"]
                )
            case _:
                del content[draw.randint(1, len(content) or 1) :]
    return bytes(content)


def files(name: str, make: Callable[[], bytes]) -> list[bytes]:
    """The damaged files of a format; the seed is in the name of the test and, on failure, in the output."""
    print(f"ANYVIEW_FUZZ_SEED={SEED}")
    whole, draw = make(), random.Random(f"{SEED} {name}")  # noqa: S311 - no secret
    return [damaged(whole, draw) for _ in range(ROUNDS)]


def check_refusal(error: Exception) -> None:
    """A refusal is one sentence."""
    text = str(error)
    assert 0 < len(text) < LONGEST, text
    assert "\n" not in text
    assert "Traceback" not in text


def initialised_and_loaded(path: Path) -> None:
    """What `init` and the first seconds of `fit` do with a file."""
    try:
        experiment = path.with_suffix(".toml")
        experiment.write_text(experiment_for([path], experiment), encoding="utf-8")
        prepare(read_experiment(str(experiment))[0])
    except (TrainingError, ModelsStoreError) as error:
        check_refusal(error)


@pytest.mark.parametrize("name", [*TABLES, *ARRAYS])
def test_init_and_fit_read_a_damaged_file_or_refuse_it(name: str, tmp_path: Path) -> None:
    for number, content in enumerate(files(name, (TABLES | ARRAYS)[name])):
        path = tmp_path / f"{number}.{name}"
        path.write_bytes(content)
        initialised_and_loaded(path)


@pytest.mark.parametrize("suffix", MEDIA)
def test_init_and_fit_read_a_folder_with_a_damaged_file_or_refuse_it(suffix: str, tmp_path: Path) -> None:
    make, _ = MEDIA[suffix]
    contents = files(suffix, lambda: make(suffix))
    lines = [f"{row}.{suffix},{'ab'[row % 2]}" for row in range(ROWS)]
    (tmp_path / "index.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    for row in range(ROWS):
        (tmp_path / f"{row}.{suffix}").write_bytes(contents[row] if row < len(contents) else make(suffix))
    initialised_and_loaded(tmp_path)


@pytest.mark.parametrize("suffix", MEDIA)
def test_the_service_reads_a_damaged_file_or_refuses_it(suffix: str) -> None:
    make, modality = MEDIA[suffix]
    for content in files(suffix, lambda: make(suffix)):
        try:
            rows = read_file(modality, content)
        except InputRefused as error:
            check_refusal(error)
        else:
            assert rows.shape == (1, *modality.shape)


@pytest.fixture(scope="module")
def store() -> Path:
    """A model of the whole table."""
    folder = Path(tempfile.mkdtemp())
    (folder / "t.csv").write_bytes(csv())
    return publish_for(folder, [folder / "t.csv"])


@pytest.mark.parametrize("name", TABLES)
def test_impute_and_the_service_fill_a_damaged_table_or_refuse_it(
    name: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = open_bundle(next((store / "kinds").iterdir())).manifest
    for number, content in enumerate(files(name, TABLES[name])):
        path = tmp_path / f"{number}.{name}"
        path.write_bytes(content)
        with suppress(SystemExit):
            imputed(store, path, tmp_path / f"filled-{number}.{name}")
        assert "Traceback" not in capsys.readouterr().err
        if name.endswith("csv"):
            try:
                read_matched(manifest, content).whole().observed()
            except InputRefused as error:
                check_refusal(error)
