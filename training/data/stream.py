"""Training rows of a data set that are read anew in each epoch and never held together.

The row groups of all files are put in an order that follows from seed and epoch, and are taken in windows of
at least ``buffer`` rows. The rows of a window are shuffled and cut into batches; rows that fill no batch join
the next window. So every batch but the last is full, and the batches follow from the files, seed and epoch
alone. Each process reads an equal part of each window: row groups outside of its part are not opened. It
computes the rows of a batch that it has read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric

from models_store.arrays import Array
from training.data.batches import presence, summed
from training.data.rows import Batch, Rows, Share
from training.data.table import View, read_rows
from training.errors import DataError
from training.networks.statistics import CellStatistics
from training.tables.dataset import DataSetFile, Piece

STREAMED, SHUFFLED = 21, 22
"""Purposes of random generators, part of their seeds: the order of row groups, and that of rows."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class RowStream:
    """Training rows of a data set.

    Arguments:
        file: The data set.
        views: Its modalities.
        held: Sorted numbers of the rows that are held out, counted over the data set.
        sample: Some of the training rows, which are held in memory.
        buffer: Least number of rows of a window, over all processes.
        epoch_rows: About how many rows an epoch has; None for all.
        statistics: Statistics of all training rows by modality.
    """

    file: DataSetFile
    views: Sequence[View]
    held: Array
    sample: Rows
    buffer: int
    epoch_rows: int | None
    statistics: Mapping[str, CellStatistics]

    def __len__(self) -> int:
        return self.file.rows - len(self.held)

    def in_epoch(self, seed: int, epoch: int) -> StreamedEpoch:
        """The rows of an epoch, in an order that follows from both numbers."""
        return StreamedEpoch(self, seed, epoch)

    @cached_property
    def parts(self) -> int:
        """Number of epochs in which every row is read once; each of them has a window."""
        largest = self.buffer + max(piece.rows for piece in self.file.pieces)
        parts = 1 if self.epoch_rows is None else round(len(self) / self.epoch_rows)
        return max(1, min(parts, len(self) // largest))

    def training_rows(self, piece: Piece) -> int:
        """Number of the rows of a row group that are not held out."""
        start, stop = np.searchsorted(self.held, [piece.first, piece.first + piece.rows])
        return piece.rows - int(stop - start)

    def read(self, pieces: Sequence[Piece], start: int, stop: int, room: int = 0) -> Rows:
        """Reads the training rows from ``start`` to before ``stop``, counted over some row groups.

        Arguments:
            pieces: The row groups.
            start: First row.
            stop: Row after the last.
            room: Number of empty rows before them, for rows that are not to be copied with these.

        Raises:
            DataError: A file is damaged, has changed, or a cell does not fit.
        """
        size = room + max(0, stop - start)
        filled = [
            (np.zeros((size, *view.modality.shape), view.modality.numpy_dtype), np.zeros(size, bool))
            for view in self.views
        ]
        done = room
        for where, index, block in self._blocks(pieces, start, stop):
            for view, (rows, masks) in zip(self.views, filled, strict=True):
                values, present = read_rows(view, block, where)
                here = slice(done, done + len(index))
                rows[here], masks[here] = values[index], present[index]
            done += len(index)
        if done < size:
            raise DataError(
                f"{self.file.address} has changed since it was opened: {size - done} rows are gone"
            )
        return as_rows(self.views, filled)

    def _blocks(
        self, pieces: Sequence[Piece], start: int, stop: int
    ) -> Iterator[tuple[str, Array, Mapping[str, object]]]:
        """Blocks that have some of the rows: their file, the rows among them, and the block."""
        fields, at = fields_of(self.views), 0
        for piece in pieces:
            count = self.training_rows(piece)
            if at + count > start and at < stop:
                yield from self._blocks_of(piece, fields, start - at, stop - at)
            at += count

    def _blocks_of(
        self, piece: Piece, fields: Sequence[str], start: int, stop: int
    ) -> Iterator[tuple[str, Array, Mapping[str, object]]]:
        at, first = 0, piece.first
        for block in self.file.blocks_of(piece, fields):
            size = len(block[fields[0]])
            lowest, highest = np.searchsorted(self.held, [first, first + size])
            index = np.delete(np.arange(size), self.held[lowest:highest] - first)
            index_of_rows = index[max(0, start - at) : max(0, stop - at)]
            if len(index_of_rows):
                yield piece.address, index_of_rows, block
            at, first = at + len(index), first + size
            if at >= stop:
                return


def fields_of(views: Sequence[View]) -> list[str]:
    """The fields of all modalities, each once."""
    return list(dict.fromkeys(field for view in views for field in view.fields))


def as_rows(views: Sequence[View], filled: Sequence[tuple[Array, Array]]) -> Rows:
    """Rows from the values and the presence of each modality."""
    names = [view.modality.name for view in views]
    data, masks = (
        {name: torch.from_numpy(part) for name, part in zip(names, parts, strict=True)}
        for parts in zip(*filled, strict=True)
    )
    return Rows(data, masks)


@dataclass(frozen=True)
class StreamedEpoch:
    """The training rows of one epoch.

    Arguments:
        stream: The data set.
        seed: Seed of the experiment.
        epoch: Number of the epoch.
    """

    stream: RowStream
    seed: int
    epoch: int

    def __len__(self) -> int:
        return sum(self.stream.training_rows(piece) for window in self.windows for piece in window)

    @cached_property
    def windows(self) -> Sequence[Sequence[Piece]]:
        """The windows of this epoch, among those of all rows in a random order."""
        parts = self.stream.parts
        number, part = divmod(self.epoch - 1, parts)
        windows = list(self._windows(np.random.default_rng([self.seed, number, STREAMED])))
        return windows[len(windows) * part // parts : len(windows) * (part + 1) // parts]

    @property
    def shapes(self) -> dict[str, torch.Size]:
        return self.stream.sample.shapes

    def batches(self, size: int, names: Sequence[str], fabric: Fabric) -> Iterator[Batch]:
        """Yields the batches, with this process's part of each.

        Raises:
            DataError: A file is damaged, has changed, or a cell does not fit.
        """
        rng = np.random.default_rng([self.seed, self.epoch, SHUFFLED])
        rank, processes = fabric.global_rank, fabric.world_size
        owner, mine, left = np.zeros(0, np.int64), self.stream.sample.head(0), len(self)
        for rows, read in _ahead(self._read(rank, processes, size)):
            left -= rows
            owner = np.concatenate([owner, np.arange(rows) * processes // rows])
            mine = _before(read, size, mine)
            del read  # the next window is read while this one is computed: no third is held
            place = np.cumsum(owner == rank) - 1
            order = rng.permutation(len(owner))
            full = len(order) // size * size if left else len(order)
            chunks = [order[start : start + size] for start in range(0, full, size)]
            yield from self._parts(mine, chunks, owner == rank, place, names, fabric)
            rest = order[full:]
            mine = mine.take(torch.from_numpy(place[rest[owner[rest] == rank]]))
            owner = owner[rest]

    def _windows(self, rng: np.random.Generator) -> Iterator[list[Piece]]:
        """Row groups in a random order, in windows of at least ``buffer`` rows."""
        pieces = self.stream.file.pieces
        window, rows = list[Piece](), 0
        for number in rng.permutation(len(pieces)):
            window.append(pieces[number])
            rows += self.stream.training_rows(pieces[number])
            if rows >= self.stream.buffer:
                yield window
                window, rows = [], 0
        if rows:
            yield window

    def _read(self, rank: int, processes: int, room: int) -> Iterator[tuple[int, Rows]]:
        """For each window the number of its rows, and those that this process reads, with room before."""
        for window in self.windows:
            rows = sum(map(self.stream.training_rows, window))
            start, stop = (-(-rows * one // processes) for one in (rank, rank + 1))
            yield rows, self.stream.read(window, start, stop, room)

    def _parts(
        self,
        rows: Rows,
        chunks: Sequence[Array],
        here: Array,
        place: Array,
        names: Sequence[str],
        fabric: Fabric,
    ) -> Iterator[Batch]:
        """The batches of a window.

        Arguments:
            rows: Rows of the window that this process has.
            chunks: Rows of each batch, counted over the window.
            here: Whether this process has the row.
            place: Its place among the rows of this process.
            names: Modalities of the model.
            fabric: Processes that share each batch.
        """
        parts = [torch.from_numpy(np.flatnonzero(here[chunk])) for chunk in chunks]
        index = [torch.from_numpy(place[chunk[here[chunk]]]) for chunk in chunks]
        if not chunks:
            return
        counts = torch.stack([presence(rows, some, names).sum(dim=1) for some in index]).float()
        weights = counts / summed(fabric, counts).clamp(min=1)
        for chunk, part, some, weight in zip(chunks, parts, index, weights, strict=True):
            if len(some):
                taken = rows.take(some)
                yield Batch(len(chunk), Share(part, weight), taken, taken)
            else:  # computes a row with weight 0: every process joins every exchange
                spare = self.stream.sample.head(1)
                yield Batch(len(chunk), Share(torch.zeros(1, dtype=torch.int64), weight), spare, spare)


def _before(rows: Rows, room: int, first: Rows) -> Rows:
    """Some rows, in the room before others, and these."""
    together = rows.take(slice(room - len(first), None))
    for name, x in first.data.items():
        together.data[name][: len(first)] = x
        together.masks[name][: len(first)] = first.masks[name]
    return together


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows of the same modalities, one part after the other."""
    return Rows(
        {name: torch.cat([part.data[name] for part in parts]) for name in parts[0].data},
        {name: torch.cat([part.masks[name] for part in parts]) for name in parts[0].masks},
    )


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items, of which the next is made in a thread while one is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item
