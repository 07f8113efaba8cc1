"""``.h5mu`` and ``.h5ad``, the HDF5 files of MuData and AnnData: matrices, and what is known of their rows.

``X`` of AnnData, or of each assay of MuData, is a field, (n, variables); each column of ``obs`` is another. A
cell without an assay is a row of NaN. Read by h5py, block by block; only a matrix that is stored by columns
(csc) is in memory as a whole. What AnnData derives from ``X`` (``layers``, ``obsm``) is left out.

References:
    | MUON: multimodal omics analysis framework (Bredikhin, Kats & Stegle, 2022)
    | https://mudata.readthedocs.io/en/latest/io/spec.html
    | https://anndata.readthedocs.io/en/stable/fileformat-prose.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from models_store.arrays import Array
from training.errors import DataError
from training.tables.files import Block, File, reading, rows_at_once
from training.tables.marks import Marks

try:
    import h5py
except ModuleNotFoundError:  # an extra
    h5py = None


FORMATS = {"MuData": "mod", "anndata": "obs"}
"""Groups that a file of each ``encoding-type`` has."""


class MuDataFile(File):
    """The matrices and the observations of a MuData or an AnnData."""

    def __init__(self, path: Path, marks: Marks) -> None:
        super().__init__(path)
        self._marks = marks
        self._by_rows: dict[str, Mapping[str, Array]] = {}
        if h5py is None:
            raise DataError(f"{path} is HDF5, which needs the extra 'mudata': pip install 'anyview[mudata]'")
        with h5py.File(path) as file:
            encoding = str(file.attrs.get("encoding-type"))
            if FORMATS.get(encoding, "no such group") not in file:
                raise DataError(f"{path} is HDF5, but no MuData (.h5mu) or AnnData (.h5ad) of today's format")
            places = {name: f"mod/{name}/X" for name in file["mod"]} if encoding == "MuData" else {"X": "X"}
            self._places = {name: place for name, place in places.items() if place in file}
            self._assays = {name: _columns(path, name, file[place]) for name, place in self._places.items()}
            self.report = [
                f"'{group}/{name}' is left out: it is derived from X"
                for group in ("layers", "obsm")
                for name in file.get(group, ())
            ]
            self._observed = [
                str(name) for name in file["obs"].attrs["column-order"] if name not in self._assays
            ]
            self._rows = len(file["obs"][file["obs"].attrs["_index"]])

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        assays = {name: (columns,) for name, columns in self._assays.items()}
        return {**assays, **dict.fromkeys(self._observed, ())}

    @property
    def rows(self) -> int:
        return self._rows

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        size = rows_at_once(sum(self._assays.get(name, 1) for name in fields))
        with reading(self.path), h5py.File(self.path) as file:
            for start in range(0, self._rows, size):
                some = slice(start, start + size)
                yield {name: self._marks.removed(name, self._values(file, name, some)) for name in fields}

    def _values(self, file: Any, name: str, some: slice) -> Any:
        if name not in self._assays:
            return _column(file["obs"][name], some)
        if "obsmap" not in file:
            rows = np.arange(some.start, min(some.stop, self._rows))
        else:  # for every cell of the whole, its row in the assay counted from 1, or 0
            rows = file["obsmap"][name][some].astype(np.int64).ravel() - 1
        x = file[self._places[name]]
        if x.attrs.get("encoding-type") == "csc_matrix":
            if name not in self._by_rows:
                self._by_rows[name] = _by_rows(x)
            x = self._by_rows[name]
        return _cells(x, rows, self._assays[name])


def _columns(path: Path, name: str, x: Any) -> int:
    encoding = x.attrs.get("encoding-type", "array")
    if encoding not in ("array", "csr_matrix", "csc_matrix"):
        raise DataError(f"{path}: X of '{name}' is a {encoding}; wanted is a dense, csr or csc matrix")
    return int((x.shape if encoding == "array" else x.attrs["shape"])[1])


def _by_rows(x: Any) -> Mapping[str, Array]:
    """A matrix that is stored column by column, as the parts of one that is stored row by row, in memory."""
    parts = (x["data"][:], x["indices"][:], x["indptr"][:])
    rows = sparse.csc_matrix(parts, shape=tuple(x.attrs["shape"])).tocsr()
    return {"data": rows.data, "indices": rows.indices, "indptr": rows.indptr}


def _cells(x: Any, rows: Array, columns: int) -> Array:
    """Rows of a matrix, (n, variables), NaN where the number of the row is negative."""
    values = np.full((len(rows), columns), np.nan, np.float32)
    present = np.flatnonzero(rows >= 0)
    ascending = present[np.argsort(rows[present], kind="stable")]
    for run in np.split(ascending, np.flatnonzero(np.diff(rows[ascending]) != 1) + 1):
        if len(run):
            values[run] = _slice(x, int(rows[run[0]]), int(rows[run[-1]]) + 1, columns)
    return values


def _slice(x: Any, start: int, stop: int, columns: int) -> Array:
    if hasattr(x, "shape"):
        return x[start:stop]
    bounds = x["indptr"][start : stop + 1].astype(np.int64)
    dense = np.zeros((stop - start, columns), np.float32)
    row = np.repeat(np.arange(stop - start), np.diff(bounds))
    dense[row, x["indices"][bounds[0] : bounds[-1]]] = x["data"][bounds[0] : bounds[-1]]
    return dense


def _column(column: Any, some: slice) -> Any:
    """Numbers or text as an Arrow array; a categorical or nullable column has its parts in a group."""
    if not hasattr(column, "shape"):
        if "codes" in column:
            labels = pa.array(column["categories"].asstr()[:].tolist())
            codes = column["codes"][some].astype(np.int64)
            return labels.take(pa.array(codes, mask=codes < 0))
        return pa.array(column["values"][some], mask=column["mask"][some])
    if column.dtype.kind == "O":
        return pa.array([text or None for text in column.asstr()[some]], pa.string())
    return pa.array(column[some], from_pandas=True)
