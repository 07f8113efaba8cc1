"""Fills one table, a piece of its rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from models_store.manifest import Manifest
from models_store.tables import Writer, dialect_for, table_writer
from models_store.tables.matching import MatchedTable, full_names, untrained_columns
from service.engine.model import Generated, Model
from service.engine.observations import Observations
from service.formats import tables
from service.formats.named_files import numbers_of_files, with_files
from service.impute.options import FillOptions

ROWS_AT_ONCE = 1000
CELLS_AT_ONCE = 2**20
"""Cells of a table, or drawn numbers, that are in memory at a time."""


@dataclass(frozen=True)
class Counts:
    """Rows of a table.

    Arguments:
        rows: Number of rows.
        unobserved: Number of rows in which nothing is observed.
    """

    rows: int = 0
    unobserved: int = 0

    def with_rows_of(self, observations: Observations) -> Counts:
        """Counts with those of a further piece."""
        unobserved = int((~tables.present(observations)).sum())
        return Counts(self.rows + observations.n, self.unobserved + unobserved)


@dataclass(frozen=True)
class Filling:
    """A table, and the model that fills it.

    Arguments:
        model: The model.
        table: The table.
        folder: Folder from which the paths of files that cells name are seen.
        options: Options that decide the numbers.
        seed: Seed of the draws.
    """

    model: Model
    table: MatchedTable
    folder: Path
    options: FillOptions
    seed: int

    @property
    def copied(self) -> list[str]:
        """Headers of columns that the model does not have and no option names."""
        others = untrained_columns(self.model.manifest, self.table)
        return [header for header in others if header not in self.options.keep]

    def count(self, show: Callable[[int], None]) -> Counts:
        """Reads all cells and counts the rows.

        Arguments:
            show: Called with the number of rows that are read.

        Raises:
            WrongInput: A cell does not fit the model; the text names row and column.
        """
        counts = Counts()
        for _, observations in self._pieces(1):
            counts = counts.with_rows_of(observations)
            show(counts.rows)
        return counts

    async def write(
        self, targets: Sequence[Path | BinaryIO], name: str, *, mark: bool, show: Callable[[int], None]
    ) -> Counts:
        """Fills the table into every target: one with means and bounds, or one for each draw.

        Arguments:
            targets: Files to write.
            name: Name of the filled table, which states its format; without an ending, that of the table.
            mark: Whether a column marks the rows in which nothing is observed.
            show: Called with the number of rows that are filled.

        Raises:
            WrongInput: As for :meth:`count`.
        """
        counts = Counts()
        with ExitStack() as stack:
            writers: list[Writer] = []
            for piece, observations in self._pieces(self.options.m or 1, empty=True):
                filling = self._filling(observations, mark)
                if not writers:
                    plan = filling.plan(dialect_for(name, piece.table.dialect))
                    writers = [stack.enter_context(table_writer(target, plan)) for target in targets]
                rows = filling.rows(counts.rows - counts.unobserved)
                self._append(writers, filling, await self._generated(rows, filling.targets))
                counts = counts.with_rows_of(observations)
                show(counts.rows)
        return counts

    def _pieces(self, draws: int, *, empty: bool = False) -> Iterator[tuple[MatchedTable, Observations]]:
        """Pieces of the table with their observations, which include the files that cells name.

        Arguments:
            draws: Number of draws of every cell that are in memory.
            empty: Whether a table without rows has one piece, without rows.
        """
        manifest, piece = self.model.manifest, None
        for piece in self.table.pieces(rows_at_once(manifest, self.table.headers, draws)):
            yield piece, with_files(manifest, tables.observed(piece), piece, self.folder)
        if piece is None and empty:
            yield replace(self.table, rows=[]), Observations({}, 0, replace(self.table, rows=[]))

    def _filling(self, observations: Observations, mark: bool) -> tables.Filling:
        options = self.options
        return tables.filling(
            self.model.manifest, observations, options.gen_mod, mark=mark, bounds=options.m is None
        )

    async def _generated(self, rows: Observations, targets: Sequence[str]) -> Generated:
        """Summaries of the predictive distribution of every row, or joint draws from it."""
        if not rows.n:
            return Generated({}, 0, ())
        generate = partial(self.model.generate, rows, ["all"], targets, seed=self.seed)
        if self.options.m is None:
            return await generate(fields=tables.FIELDS, summary_draws=self.options.summary_draws)
        return await generate(fields=["samples"], draws=self.options.m, noise=True, in_tables=True)

    def _append(self, writers: Sequence[Writer], filling: tables.Filling, generated: Generated) -> None:
        joint = self.options.m is not None
        for number, writer in enumerate(writers):
            estimate = tables.draws(generated, number) if joint else tables.means(generated)
            for filled in filling.fill(estimate):
                writer.append(*filled)


def rows_at_once(manifest: Manifest, headers: Sequence[str], draws: int = 1) -> int:
    """Number of rows of a table, with draws of every cell, that are in memory at a time."""
    cells = sum(len(full_names(one)) for one in manifest.modalities if one.traits.tabular)
    most = max(len(headers) + numbers_of_files(manifest, headers), draws * cells, 1)
    return max(1, min(ROWS_AT_ONCE, CELLS_AT_ONCE // most))
