"""The source `dataset`: Parquet files of one schema in a folder or at an address of fsspec.

One pass over the data set takes the statistics that networks need, and the rows that are held out. Training
rows are read again in each epoch: see ``training.data.stream``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from models_store.arrays import Array
from models_store.kinds import KINDS
from models_store.manifest import Modality
from models_store.tables import TrainingTable
from training.config import Data, Experiment
from training.data.rows import Rows
from training.data.storage import allocate
from training.data.stream import RowStream, as_rows, fields_of, joined
from training.data.table import View, read_rows, tables_of, view_of
from training.errors import ExperimentError
from training.networks.statistics import CellStatistics
from training.tables.dataset import DataSetFile, Piece
from training.tables.marks import Marks

SAMPLED = 20_000
"""Training rows that are held in memory, for the regressions and judges of the card."""
DRAWN_AT_ONCE = 2**20
ELSEWHERE = ("path", "files", "dialects", "key", "limit", "removed", "paired_share")
"""Settings of data that is held together."""


@dataclass(frozen=True)
class DataSet:
    """The rows of a data set.

    Arguments:
        stream: Training rows.
        test: Test rows.
        validation: Validation rows.
        tables: Description of the files for the manifest.
    """

    stream: RowStream
    test: Rows
    validation: Rows
    tables: tuple[TrainingTable, ...]


def load(experiment: Experiment, fabric: Fabric | None = None) -> DataSet:
    """Opens a data set and reads it once; each process of ``fabric`` reads an equal part of the row groups.

    Raises:
        ExperimentError: A field is not there, or a setting does not suit a data set.
        DataError: A file is damaged, or a value in it is not what the experiment says.
    """
    settings = experiment.data
    if settings.address is None:
        raise ExperimentError(
            "data.address must name the folder, the pattern of paths, or the address of the data"
        )
    _refuse(settings)
    file = DataSetFile(settings.address, Marks(settings.missing, settings.missing_by_column))
    views = [_view(experiment, name, file) for name in experiment.modalities]
    if settings.test + settings.validation >= file.rows:
        raise ExperimentError(
            f"data.test and data.validation hold out {settings.test} and {settings.validation} rows, "
            f"but there are {file.rows}"
        )
    drawn = draw_rows(file, settings.test + settings.validation + SAMPLED, experiment.seed)
    ends = [settings.test, settings.test + settings.validation]
    parts = np.split(drawn, ends)
    held = np.sort(drawn[: ends[1]])
    statistics, (test, validation, sample) = _read(file, views, held, parts, fabric)
    stream = RowStream(file, views, held, sample, settings.buffer, settings.epoch_rows, statistics)
    return DataSet(stream, test, validation, tables_of([file], views))


def _refuse(settings: Data) -> None:
    for key in ELSEWHERE:
        if getattr(settings, key):
            raise ExperimentError(f"data.{key} is not for the source 'dataset'; leave it out")
    if settings.paired != 1:
        raise ExperimentError("data.paired is not for the source 'dataset'; leave it out")


def _view(experiment: Experiment, name: str, file: DataSetFile) -> View:
    """Finds the fields of a modality, and the function that reads them.

    Raises:
        ExperimentError: Its fields are not there, or it is one of files that a column names.
    """
    choice = experiment.modalities[name]
    kind, is_column = KINDS.get(choice.kind or ""), file.shapes.get(choice.field or "", None) == ()
    if kind is not None and not kind.tabular and is_column:
        raise ExperimentError(
            f"modalities.{name}: a data set has numbers, labels and lists of numbers; a {choice.kind} "
            "from files needs the source 'table'"
        )
    return view_of(name, choice, [file], [file.address])


def draw_rows(file: DataSetFile, count: int, seed: int) -> Array:
    """Draws numbers of rows of a data set, in random order: (count,), or all if there are fewer.

    Each row has a random number that follows from the seed, the path of its file in the data set and its
    place in the file; the rows with the smallest are drawn. Where files are added, rows of the new files take
    places of others, and no other row of the old ones is drawn.
    """
    values, numbers = np.zeros(0), np.zeros(0, np.int64)
    first = 0
    for name, rows in file.rows_by_file.items():
        rng = np.random.default_rng([seed, *name.encode()])
        for start in range(0, rows, DRAWN_AT_ONCE):
            drawn = rng.random(min(DRAWN_AT_ONCE, rows - start))
            small = np.flatnonzero(drawn < (values[-1] if len(values) == count else 1))
            values = np.concatenate([values, drawn[small]])
            numbers = np.concatenate([numbers, first + start + small])
            smallest = np.argsort(values, kind="stable")[:count]
            values, numbers = values[smallest], numbers[smallest]
        first += rows
    return numbers


class _Selected:
    """Rows of all modalities, filled while parts of the data set are read in order.

    Arguments:
        numbers: Numbers of the rows, in any order.
        views: The modalities.
    """

    def __init__(self, numbers: Array, views: Sequence[View]) -> None:
        self._numbers, self._views, self._size = np.sort(numbers), views, 0
        self._filled = [
            (
                allocate((len(numbers), *one.modality.shape), one.modality.numpy_dtype),
                np.zeros(len(numbers), bool),
            )
            for one in views
        ]

    def take(self, first: int, rows: Sequence[tuple[Array, Array]]) -> None:
        """Takes its rows from consecutive rows.

        Arguments:
            first: Number of the first of these.
            rows: Values and presence by modality.
        """
        start, stop = np.searchsorted(self._numbers, [first, first + len(rows[0][1])])
        index = self._numbers[start:stop] - first
        here = slice(self._size, self._size + len(index))
        for (values, masks), (read, present) in zip(self._filled, rows, strict=True):
            values[here], masks[here] = read[index], present[index]
        self._size += len(index)

    def rows(self) -> Rows:
        """The rows that were read."""
        return as_rows(self._views, self._filled).head(self._size)


Read = tuple[dict[str, CellStatistics], list[Rows]]
"""Statistics of training rows by modality, and selected rows in the order of the data set."""


def _read(
    file: DataSetFile, views: Sequence[View], held: Array, selected: Sequence[Array], fabric: Fabric | None
) -> Read:
    """Reads the data set once, each process a part of it.

    Arguments:
        file: The data set.
        views: Its modalities.
        held: Sorted numbers of the rows that are no training rows.
        selected: Numbers of the rows of each selection.
        fabric: Processes that share the work.
    """
    rank, processes = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
    count = len(file.pieces)
    mine = _read_pieces(
        file,
        file.pieces[count * rank // processes : count * (rank + 1) // processes],
        views,
        held,
        [_Selected(numbers, views) for numbers in selected],
    )
    if processes == 1:
        return mine
    parts: list[Any] = [None] * processes
    torch.distributed.all_gather_object(parts, mine)
    for name, statistics in parts[0][0].items():
        for other, _ in parts[1:]:
            statistics.join(other[name])
    return parts[0][0], [joined(rows) for rows in zip(*(rows for _, rows in parts), strict=True)]


def _read_pieces(
    file: DataSetFile,
    pieces: Sequence[Piece],
    views: Sequence[View],
    held: Array,
    selections: Sequence[_Selected],
) -> Read:
    statistics = {view.modality.name: statistics_of(view.modality) for view in views}
    fields = fields_of(views)
    for piece in pieces:
        first = piece.first
        for block in file.blocks_of(piece, fields):
            rows = [read_rows(view, block, piece.address) for view in views]
            for selection in selections:
                selection.take(first, rows)
            size = len(rows[0][1])
            lowest, highest = np.searchsorted(held, [first, first + size])
            for view, (values, _) in zip(views, rows, strict=True):
                training = np.delete(values, held[lowest:highest] - first, axis=0)
                statistics[view.modality.name].see(torch.from_numpy(training))
            first += size
    return statistics, [selection.rows() for selection in selections]


def statistics_of(modality: Modality) -> CellStatistics:
    """Empty statistics of the rows of a modality."""
    columns = modality.columns or () if modality.traits.mixed else ()
    labels = [len(column.labels or ()) for column in columns]
    return CellStatistics(modality.shape, labels, floating=modality.numpy_dtype.kind == "f")
