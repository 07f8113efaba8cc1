"""MuData, read from a file of the library itself: 30 cells, `rna` of the first 24, `prot` of the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from tests.conftest import DATA
from training.config import read_experiment
from training.data import prepare
from training.errors import DataError
from training.tables import mudata
from training.tables.files import texts
from training.tables.guess import experiment_for
from training.tables.opening import open_file

CELLS = DATA / "cells.h5mu"


def test_a_cell_without_an_assay_is_a_row_of_nan() -> None:
    file = open_file(CELLS)
    assert file.rows == 30
    assert dict(file.shapes) == {"prot": (5,), "rna": (12,), "cell_type": (), "size_um": ()}
    (block,) = file.blocks(["rna", "prot", "cell_type", "size_um"])
    assert np.isnan(block["rna"]).all(axis=1).tolist() == 24 * [False] + 6 * [True]
    assert np.isnan(block["prot"]).all(axis=1).tolist() == 6 * [True] + 24 * [False]
    assert texts(block["cell_type"])[:3] == ["B", "T", None]


def test_a_sparse_matrix_is_filled_with_zeros() -> None:
    with h5py.File(CELLS) as file:
        x = file["mod/rna/X"]
        expected = np.zeros((24, 12), np.float32)
        for row in range(24):
            part = slice(x["indptr"][row], x["indptr"][row + 1])
            expected[row, x["indices"][part]] = x["data"][part]
    (block,) = open_file(CELLS).blocks(["rna"])
    assert np.array_equal(block["rna"][:24], expected)


def test_rows_in_another_order_stay_with_their_cells(tmp_path: Path) -> None:
    shuffled = tmp_path / "x.h5mu"
    shuffled.write_bytes(CELLS.read_bytes())
    (before,) = open_file(CELLS).blocks(["prot"])
    order = np.random.default_rng(0).permutation(24)
    with h5py.File(shuffled, "r+") as file:
        file["mod/prot/X"][:] = file["mod/prot/X"][:][order]
        file["obsmap/prot"][6:] = np.argsort(order) + 1
    (after,) = open_file(shuffled).blocks(["prot"])
    assert np.array_equal(before["prot"], after["prot"], equal_nan=True)


def test_a_guessed_experiment_on_it_loads(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(experiment_for([CELLS], path))
    prepared = prepare(read_experiment(str(path))[0])
    kinds = {modality.name: modality.kind for modality in prepared.modalities}
    assert kinds == {"prot": "vector", "rna": "counts", "cell_type": "category", "cells": "vector"}
    splits = (prepared.train, prepared.validation, prepared.test)
    assert sum(int(rows.masks["rna"].sum()) for rows in splits) == 24


def anndata_of(path: Path, sparse: str | None) -> np.ndarray[Any, Any]:
    """An AnnData of 30 cells and 4 genes as the library lays it out (format 0.1.0), and its matrix."""
    rng = np.random.default_rng(0)
    x = rng.poisson(1.0, (30, 4)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "anndata"
        if sparse:
            group = file.create_group("X")
            group.attrs.update({"encoding-type": f"{sparse}_matrix", "shape": x.shape})
            parts = {"csr": csr_matrix, "csc": csc_matrix}[sparse](x)
            group["data"], group["indices"], group["indptr"] = parts.data, parts.indices, parts.indptr
        else:
            file["X"] = x
        obs = file.create_group("obs")
        obs.attrs.update({"_index": "_index", "column-order": ["cell_type", "size"]})
        obs["_index"], obs["size"] = [f"c{row}" for row in range(30)], rng.normal(10, 1, 30)
        labels = obs.create_group("cell_type")
        labels["categories"], labels["codes"] = ["B", "T"], np.arange(30, dtype=np.int8) % 3 - 1
        file["obsm/X_pca"] = x[:, :2]
    return x


@pytest.mark.parametrize("sparse", [None, "csr", "csc"])
def test_anndata_is_its_matrix_and_its_observations(tmp_path: Path, sparse: str | None) -> None:
    x = anndata_of(tmp_path / "x.h5ad", sparse)

    file = open_file(tmp_path / "x.h5ad")

    assert dict(file.shapes) == {"X": (4,), "cell_type": (), "size": ()}
    assert file.report == ["'obsm/X_pca' is left out: it is derived from X"]
    (block,) = file.blocks(["X", "cell_type"])
    assert np.array_equal(block["X"], x)
    assert block["X"].dtype == np.float32
    assert texts(block["cell_type"])[:3] == [None, "B", "T"]


@pytest.mark.parametrize("sparse", [None, "csr", "csc"])
def test_anndata_is_read_block_by_block(
    tmp_path: Path, sparse: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = anndata_of(tmp_path / "x.h5ad", sparse)
    monkeypatch.setattr("training.tables.files.CELLS_AT_ONCE", 4 * 7)

    blocks = [block["X"] for block in open_file(tmp_path / "x.h5ad").blocks(["X"])]

    assert [len(block) for block in blocks] == [7, 7, 7, 7, 2]
    assert np.array_equal(np.concatenate(blocks), x)


def test_mudata_has_matrices_stored_by_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.h5mu"
    path.write_bytes(CELLS.read_bytes())
    (before,) = open_file(path).blocks(["rna"])
    with h5py.File(path, "r+") as file:
        x = file["mod/rna/X"]
        by_columns = csc_matrix(before["rna"][:24])
        for part in ("data", "indices", "indptr"):
            del x[part]
            x[part] = getattr(by_columns, part)
        x.attrs["encoding-type"] = "csc_matrix"
    (after,) = open_file(path).blocks(["rna"])
    assert np.array_equal(before["rna"], after["rna"], equal_nan=True)


def test_a_matrix_of_another_layout_is_refused(tmp_path: Path) -> None:
    anndata_of(tmp_path / "x.h5ad", "csr")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        file["X"].attrs["encoding-type"] = "coo_matrix"
    with pytest.raises(DataError, match="X of 'X' is a coo_matrix; wanted is a dense, csr or csc matrix"):
        open_file(tmp_path / "x.h5ad")


def test_a_guessed_experiment_on_anndata_loads(tmp_path: Path) -> None:
    anndata_of(tmp_path / "x.h5ad", sparse="csr")
    path = tmp_path / "x.toml"
    path.write_text(experiment_for([tmp_path / "x.h5ad"], path))
    prepared = prepare(read_experiment(str(path))[0])
    kinds = {modality.name: modality.kind for modality in prepared.modalities}
    assert kinds == {"x": "counts", "cell_type": "category", "x_2": "vector"}


def test_other_hdf5_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = [1, 2]
    with pytest.raises(DataError, match=r"x\.h5 is HDF5, but no MuData (.*) or AnnData"):
        open_file(tmp_path / "x.h5")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mudata, "h5py", None)
    with pytest.raises(DataError, match="needs the extra 'mudata': pip install"):
        open_file(CELLS)


def test_what_is_not_derived_from_the_matrix_is_a_field(tmp_path: Path) -> None:
    x = anndata_of(tmp_path / "x.h5ad", None)
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        file["obsm/spatial"], file["obsm/size"], file["layers/counts"] = x[:, :2], x[:, :3], x
        file["raw/X"], file["obsm/volumes"] = x, np.zeros((30, 2, 2))
        file.create_group("obsm/proteins").attrs["encoding-type"] = "dataframe"
    file = open_file(tmp_path / "x.h5ad")
    assert dict(file.shapes) == {"X": (4,), "obsm/size": (3,), "spatial": (2,), "cell_type": (), "size": ()}
    assert file.report == [
        "'layers/counts' is left out: it is derived from X",
        "'obsm/X_pca' is left out: it is derived from X",
        "'obsm/proteins' is left out: it is a dataframe; make its columns columns of obs, or store a matrix",
        "'obsm/volumes' is left out: it is an array of float64 with 3 axes; stored is a matrix of numbers",
        "'raw' is left out: X is derived from it",
    ]
    (block,) = file.blocks(["spatial", "obsm/size"])
    assert np.array_equal(block["spatial"], x[:, :2])
    assert np.array_equal(block["obsm/size"], x[:, :3])


@pytest.mark.parametrize("place", ["raw/X", "layers/counts", "obsm/X_pca"])
def test_anndata_without_its_matrix_has_the_others(tmp_path: Path, place: str) -> None:
    x = anndata_of(tmp_path / "x.h5ad", None)
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        del file["X"], file["obsm"]
        file[place] = x
    file = open_file(tmp_path / "x.h5ad")
    name = place.rpartition("/")[2]
    assert dict(file.shapes) == {name: (4,), "cell_type": (), "size": ()}
    (block,) = file.blocks([name])
    assert np.array_equal(block[name], x)


def test_columns_of_any_type(tmp_path: Path) -> None:
    """Categories of numbers and truth values; text with missing values, as of pandas 3, also as the index."""
    anndata_of(tmp_path / "x.h5ad", None)
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        obs = file["obs"]
        obs.attrs["column-order"] = ["leiden", "flag", "word", "bytes", "count"]
        for name, categories in (("leiden", np.array([3, 5])), ("flag", np.array([False, True]))):
            column = obs.create_group(name)
            column["categories"], column["codes"] = categories, np.arange(30, dtype=np.int8) % 3 - 1
        del obs["_index"]
        for name in ("word", "_index"):
            column = obs.create_group(name)
            column["values"], column["mask"] = [f"w{row % 3}" for row in range(30)], np.arange(30) == 1
        obs["bytes"] = np.array([b"a", b"b"] * 15)
        count = obs.create_group("count")
        count["values"], count["mask"] = np.arange(30), np.arange(30) == 2
    file = open_file(tmp_path / "x.h5ad")
    assert file.rows == 30
    (block,) = file.blocks(["leiden", "flag", "word", "bytes", "count"])
    assert texts(block["leiden"])[:3] == [None, "3", "5"]
    assert texts(block["flag"])[:3] == [None, "false", "true"]
    assert texts(block["word"])[:3] == ["w0", None, "w2"]
    assert texts(block["bytes"])[:2] == ["a", "b"]
    assert block["count"].to_pylist()[:4] == [0, 1, None, 3]


def test_observations_of_an_assay_are_missing_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.h5mu"
    path.write_bytes(CELLS.read_bytes())
    with h5py.File(path, "r+") as file:
        obs = file["mod/prot/obs"]
        obs.attrs["column-order"] = ["batch"]
        obs["batch"] = [f"b{row % 2}" for row in range(24)]
    file = open_file(path)
    (block,) = file.blocks(["prot", "prot:batch"])
    assert texts(block["prot:batch"]) == [None] * 6 + [f"b{row % 2}" for row in range(24)]
