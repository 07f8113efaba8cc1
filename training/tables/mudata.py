"""``.h5mu`` and ``.h5ad``, the HDF5 files of MuData and AnnData: matrices, and what is known of their rows.

``X`` of AnnData, or of each assay of MuData, is a field, (n, variables); each column of ``obs`` is another,
one of an assay's ``obs`` is called ``assay:column``. A cell without an assay is a row of NaN. h5py reads
block by block; only a matrix that is stored by columns (csc) is in memory as a whole. Matrices of ``obsm``
are fields, too, unless they are called ``X_…``; without ``X``, all of ``layers`` and ``obsm`` are.

References:
    | MUON: multimodal omics analysis framework (Bredikhin, Kats & Stegle, 2022)
    | https://mudata.readthedocs.io/en/latest/io/spec.html
    | https://anndata.readthedocs.io/en/stable/fileformat-prose.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
MATRICES = ("array", "csr_matrix", "csc_matrix")
"""Values of ``encoding-type`` of matrices that are read."""


class _Place(NamedTuple):
    """Place of a field in a file.

    Arguments:
        path: Path of a matrix or a column.
        assay: Assay of MuData that has its rows; None: they are the rows of the file.
        columns: Columns of a matrix; None for a column of ``obs``.
    """

    path: str
    assay: str | None
    columns: int | None


class MuDataFile(File):
    """The matrices and the observations of a MuData or an AnnData."""

    def __init__(self, path: Path, marks: Marks) -> None:
        super().__init__(path)
        self._marks = marks
        self._by_rows: dict[str, Mapping[str, Array]] = {}
        self._places: dict[str, _Place] = {}
        self.report: list[str] = []
        if h5py is None:
            raise DataError(f"{path} is HDF5, which needs the extra 'mudata': pip install 'anyview[mudata]'")
        with h5py.File(path) as file:
            encoding = str(file.attrs.get("encoding-type"))
            if FORMATS.get(encoding, "no such group") not in file:
                raise DataError(f"{path} is HDF5, but no MuData (.h5mu) or AnnData (.h5ad) of today's format")
            self._rows = _length(file["obs"][file["obs"].attrs["_index"]])
            if encoding == "MuData":
                for name in file["mod"]:
                    self._add_assay(file, f"mod/{name}/", name, name if "obsmap" in file else None)
            else:
                self._add_assay(file, "", "", None)
            self._add_columns(file["obs"], "", None)
            for name in file["mod"] if encoding == "MuData" else ():
                self._add_columns(file[f"mod/{name}/obs"], f"{name}:", name if "obsmap" in file else None)

    def _add_assay(self, file: Any, group: str, name: str, assay: str | None) -> None:
        """Adds the matrices of AnnData, or of one assay of MuData."""
        main = {f"{group}X": name or "X"} if f"{group}X" in file else {}
        if not main and f"{group}raw/X" in file:
            main = {f"{group}raw/X": name or "X"}
        others = {
            f"{group}{part}/{one}": f"{name}:{one}" if name else one
            for part in ("layers", "obsm")
            for one in file.get(f"{group}{part}", ())
        }
        for path, field in others.items():
            derived = main and ("layers/" in path or path.rpartition("/")[2].startswith("X_"))
            reason = "it is derived from X" if derived else _unread(file[path])
            if reason:
                self.report.append(f"'{path}' is left out: {reason}")
            else:
                main[path] = field if field not in file["obs"] else path
        if f"{group}raw" in file and f"{group}raw/X" not in main:
            self.report.append(f"'{group}raw' is left out: X is derived from it")
        for path, field in main.items():
            self._places[field] = _Place(path, assay, _columns(self.path, field, file[path]))

    def _add_columns(self, observed: Any, prefix: str, assay: str | None) -> None:
        """Adds the columns of ``obs`` that are not there under their name."""
        for name in map(str, observed.attrs["column-order"]):
            self._places.setdefault(f"{prefix}{name}", _Place(f"{observed.name}/{name}", assay, None))

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {
            name: () if place.columns is None else (place.columns,) for name, place in self._places.items()
        }

    @property
    def rows(self) -> int:
        return self._rows

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        size = rows_at_once(sum(self._places[name].columns or 1 for name in fields))
        with reading(self.path), h5py.File(self.path) as file:
            for start in range(0, self._rows, size):
                some = slice(start, start + size)
                yield {name: self._marks.removed(name, self._values(file, name, some)) for name in fields}

    def _values(self, file: Any, name: str, some: slice) -> Any:
        place = self._places[name]
        if place.assay is None:
            rows = np.arange(some.start, min(some.stop, self._rows))
        else:  # for every cell of the whole, its row in the assay counted from 1, or 0
            rows = file["obsmap"][place.assay][some].astype(np.int64).ravel() - 1
        x = file[place.path]
        if place.columns is None:
            if place.assay is None:
                return _column(x, some)
            return _column(x, slice(None)).take(pa.array(rows, mask=rows < 0))
        if x.attrs.get("encoding-type") == "csc_matrix":
            if name not in self._by_rows:
                self._by_rows[name] = _by_rows(x)
            x = self._by_rows[name]
        return _cells(x, rows, place.columns)


def _length(column: Any) -> int:
    """Rows of a column; a categorical or nullable column has its parts in a group."""
    return len(column if hasattr(column, "shape") else column["codes" if "codes" in column else "values"])


def _unread(matrix: Any) -> str | None:
    """Reason why a matrix of ``layers`` or ``obsm`` is no field."""
    encoding = matrix.attrs.get("encoding-type", "array")
    if encoding not in MATRICES:
        return f"it is a {encoding}; make its columns columns of obs, or store a matrix"
    if encoding == "array" and (matrix.ndim != 2 or matrix.dtype.kind not in "biuf"):
        return f"it is an array of {matrix.dtype} with {matrix.ndim} axes; stored is a matrix of numbers"
    return None


def _columns(path: Path, name: str, x: Any) -> int:
    encoding = x.attrs.get("encoding-type", "array")
    if encoding not in MATRICES:
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
    if hasattr(column, "shape"):
        if column.dtype.kind in "OS":
            return pa.array([text or None for text in column.asstr()[some]], pa.string())
        return pa.array(column[some], from_pandas=True)
    if "codes" in column:
        codes = column["codes"][some].astype(np.int64)
        return _column(column["categories"], slice(None)).take(pa.array(codes, mask=codes < 0))
    return pc.if_else(pa.array(column["mask"][some]), None, _column(column["values"], some))
