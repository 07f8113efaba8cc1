"""Arrays of labels, switches and large numbers are learned as what their values are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.config import read_experiment
from training.data import Prepared, prepare
from training.errors import DataError, TrainingError
from training.tables.guess import experiment_for, guess

N = 120
X = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
LABELS = np.arange(N) % 4


def learned(folder: Path, text: Any = "", **arrays: Any) -> tuple[dict[str, Any], Prepared]:
    """Modalities that ``init`` writes of arrays, and the data that they load."""
    np.savez(folder / "a.npz", **arrays)
    written: str = text or experiment_for([folder / "a.npz"], folder / "e.toml")
    (folder / "e.toml").write_text(written)
    return tomllib.loads(written)["modalities"], prepare(read_experiment(str(folder / "e.toml"))[0])


def every_value(prepared: Prepared, name: str) -> torch.Tensor:
    splits = (prepared.train.in_epoch(0, 0), prepared.validation, prepared.test)
    return torch.cat([rows.data[name] for rows in splits])


@pytest.mark.parametrize("dtype", [np.float64, np.bool_, np.uint8, np.int64, np.float16])
def test_a_one_hot_matrix_is_a_category(tmp_path: Path, dtype: Any) -> None:
    modalities, prepared = learned(tmp_path, x=X, y=np.eye(4)[LABELS].astype(dtype))

    assert modalities["y"]["kind"] == "category"
    assert modalities["y"]["labels"] == ["0", "1", "2", "3"]
    assert torch.bincount(every_value(prepared, "y")).tolist() == np.bincount(LABELS).tolist()


def test_a_row_of_zeros_among_one_hot_rows_has_no_label(tmp_path: Path) -> None:
    one_hot = np.eye(4)[LABELS]
    _, before = learned(tmp_path, x=X, y=one_hot)
    text = (tmp_path / "e.toml").read_text()
    one_hot[:30] = 0
    _, prepared = learned(tmp_path, text, x=X, y=one_hot)

    splits = (prepared.train.in_epoch(0, 0), prepared.validation, prepared.test)
    assert sum(int(rows.masks["y"].sum()) for rows in splits) == N - 30
    assert len(before.train) == len(prepared.train)


@pytest.mark.parametrize("row", [[1, 1, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 2, 0]])
def test_a_row_that_is_not_one_hot_is_refused(tmp_path: Path, row: list[float]) -> None:
    one_hot = np.eye(4)[LABELS]
    learned(tmp_path, x=X, y=one_hot)
    text = (tmp_path / "e.toml").read_text()
    one_hot[7] = row
    with pytest.raises(TrainingError, match="must have one 1 among zeros in each row"):
        learned(tmp_path, text, x=X, y=one_hot)


@pytest.mark.parametrize("dtype", [np.float64, np.bool_, np.uint8])
def test_rows_of_switches_are_learned_as_0_and_1(tmp_path: Path, dtype: Any) -> None:
    switches = (np.random.default_rng(1).random((N, 6)) < 0.4).astype(dtype)

    modalities, prepared = learned(tmp_path, x=switches, y=LABELS)

    assert modalities["x"]["kind"] == "vector"
    assert (modalities["x"]["likelihood"], modalities["x"]["range"]) == ("bernoulli", [0.0, 1.0])
    assert every_value(prepared, "x").to(torch.float64).sum() == switches.sum()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4", ">i2", np.int8])
def test_labels_of_any_number_type_read_as_integers(tmp_path: Path, dtype: Any) -> None:
    modalities, prepared = learned(tmp_path, x=X, y=LABELS.astype(dtype))

    assert modalities["y"]["labels"] == ["0", "1", "2", "3"]
    assert torch.bincount(every_value(prepared, "y")).tolist() == np.bincount(LABELS).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, ">i4"])
def test_labels_in_one_column_are_a_category(tmp_path: Path, dtype: Any) -> None:
    modalities, prepared = learned(tmp_path, x=X, y=LABELS[:, None].astype(dtype))

    assert modalities["y"]["labels"] == ["0", "1", "2", "3"]
    assert torch.bincount(every_value(prepared, "y")).tolist() == np.bincount(LABELS).tolist()


def test_measures_in_one_column_are_a_vector(tmp_path: Path) -> None:
    modalities, _ = learned(tmp_path, x=X[:, :1], y=LABELS)
    assert modalities["x"]["kind"] == "vector"


def test_rows_without_cells_are_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((N, 0)), y=LABELS)
    report = guess([tmp_path / "a.npz"], tmp_path / "e.toml").report
    assert "  'x' is left out: its rows are empty" in report


@pytest.mark.parametrize("unit", [1e25, 2.0**60, -1e20])
def test_numbers_beyond_whole_ones_are_measures(tmp_path: Path, unit: float) -> None:
    modalities, prepared = learned(tmp_path, big=unit * LABELS, x=X)

    (name,) = [name for name, one in modalities.items() if one["kind"] == "vector" and name != "x"]
    assert every_value(prepared, name).unique().tolist() == np.unique(np.float32(unit * LABELS)).tolist()


@pytest.mark.parametrize("shape", [(N,), (N, 4), (N, 9, 12)])
def test_an_infinite_number_is_refused_by_init_as_by_fit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(3).normal(size=shape)
    values.flat[7] = -np.inf
    np.savez(tmp_path / "some.npz", x=values, y=LABELS)
    with pytest.raises(DataError, match=r"some\.npz: 'x': numbers must be finite within float32, got an inf"):
        guess([tmp_path / "some.npz"], tmp_path / "e.toml")


U = np.random.default_rng(2).random((N, 9, 12))


@pytest.mark.parametrize(
    ("name", "pictures", "expected"),
    [
        ("x", (U * 4000).astype(np.uint16), 4095),
        ("x", (U * 65_000).astype(">u2"), 65_535),
        ("x", (U * 255).astype(np.int32), 255),
        ("x", (U * 255).astype(np.int64), 255),
        ("x", (U * 3.99).astype(np.uint16), 3),
        ("x", (U > 0.5).astype(np.uint16), 1),
        ("x", U > 0.5, 1),
        ("x", U.astype(np.float32), 1),
        ("x", U.astype(np.float16), 1),
        ("x", U * 200, 255),
        ("x", np.stack([U] * 3, axis=-1).astype(np.float32), 1),
        ("x", np.stack([U], axis=-1), 1),
        ("scan", (U * 700).astype(np.float32), None),
        ("image", U * 2 - 1, (-1, 1)),
        ("X-ray_img", U * 3 - 2, None),
    ],
)
def test_pictures_of_any_dtype_have_the_range_of_their_values(
    tmp_path: Path, name: str, pictures: np.ndarray[Any, Any], expected: Any
) -> None:
    modalities, prepared = learned(tmp_path, **{name: pictures, "y": LABELS})

    (picture,) = [one for one in modalities.values() if one["kind"] == "image"]
    low, high = picture["range"]
    if expected is None:
        expected = (min(0, pictures.min()), pictures.max())
    assert (low, high) == pytest.approx(expected if isinstance(expected, tuple) else (0, expected))
    (modality,) = [one for one in prepared.modalities if one.kind == "image"]
    assert modality.shape == pictures.shape[1:]
    total = every_value(prepared, modality.name).to(torch.float64).sum().item()
    assert total == pytest.approx(pictures.sum(dtype=np.float64))


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(3).normal(size=(N, 12, 12)),
        U[:, :, :5],
        np.random.default_rng(3).random((N, 64, 8)),
        U.astype(np.float32) * 4,
        np.random.default_rng(3).integers(0, 99, (N, 9, 9, 5)),
    ],
)
def test_other_arrays_are_tensors(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    modalities, _ = learned(tmp_path, x=rows, y=LABELS)
    assert modalities["x"]["kind"] == "tensor"


def test_channels_before_rows_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=(np.stack([U] * 3, axis=1) * 255).astype(np.uint8), y=LABELS)
    report = guess([tmp_path / "a.npz"], tmp_path / "e.toml").report
    assert "  'x' has rows of the shape (3, 9, 12); save pictures as (rows, 9, 12, 3)" in report
