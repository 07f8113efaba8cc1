"""``.h5mu``, the HDF5 file of MuData: a matrix per assay, which some cells lack, and what is known of them.

Each assay is a field, (n, variables); each column of the shared ``obs`` another. A cell without an assay is
a row of NaN. Read by h5py alone, block by block.

References:
    | MUON: multimodal omics analysis framework (Bredikhin, Kats & Stegle, 2022)
    | https://mudata.readthedocs.io/en/latest/io/spec.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models_store.arrays import Array
from training.errors import DataError
from training.tables.files import Block, File, rows_at_once
from training.tables.marks import Marks

try:
    import h5py
except ModuleNotFoundError:  # an extra
    h5py = None


class MuDataFile(File):
    """The assays and the observations of a MuData."""

    def __init__(self, path: Path, marks: Marks) -> None:
        super().__init__(path)
        self._marks = marks
        if h5py is None:
            raise DataError(f"{path} is HDF5, which needs the extra 'mudata': pip install 'anyview[mudata]'")
        with h5py.File(path) as file:
            if file.attrs.get("encoding-type") != "MuData":
                raise DataError(f"{path} is HDF5, but no MuData (.h5mu)")
            self._assays = {name: _columns(path, name, file["mod"][name]["X"]) for name in file["mod"]}
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
        with h5py.File(self.path) as file:
            for start in range(0, self._rows, size):
                some = slice(start, start + size)
                yield {name: self._marks.removed(name, self._values(file, name, some)) for name in fields}

    def _values(self, file: Any, name: str, some: slice) -> Any:
        return _cells(file, name, some) if name in self._assays else _column(file["obs"][name], some)


def _columns(path: Path, name: str, x: Any) -> int:
    encoding = x.attrs.get("encoding-type", "array")
    if encoding not in ("array", "csr_matrix"):
        raise DataError(f"{path}: X of '{name}' is a {encoding}; wanted is a dense or csr matrix")
    return int((x.shape if encoding == "array" else x.attrs["shape"])[1])


def _cells(file: Any, name: str, some: slice) -> Array:
    """One assay of some cells, (n, variables), NaN where a cell lacks it."""
    x = file["mod"][name]["X"]
    # obsmap: for every cell of the whole, its row in the assay counted from 1, or 0
    rows = file["obsmap"][name][some].astype(np.int64).ravel() - 1
    columns = _columns(Path(file.filename), name, x)
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
