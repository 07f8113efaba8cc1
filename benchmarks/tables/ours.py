"""This project without an edit: `init`, `fit`, and the published bundle in the engine of the service."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tables.questions import Question, Task
from benchmarks.tables.scores import LEVELS, Prediction, crps_of_draws
from benchmarks.tables.table import KEY, Table
from models_store.arrays import Array
from models_store.stores import store_at
from service.engine.model import Model
from service.engine.observations import Column, Observations
from service.engine.summaries import Summary
from service.models.catalog import Catalog
from service.settings import Settings
from training import commands, data
from training.config import Experiment, read_experiment
from training.data.rows import Rows
from training.tables.guess import experiment_for

DRAWS = 200
"""K, and the draws of x from which CRPS is computed."""
ROWS_AT_ONCE = 50


@dataclass(frozen=True)
class Place:
    """Place of a table's column in the published model.

    Arguments:
        modality: Name of the modality.
        cell: Index in a row of the modality.
        labels: For a category, the code in the table of each of the model's labels.
    """

    modality: str
    cell: int
    labels: tuple[int, ...] = ()


def answers(task: Task, seed: int) -> list[Prediction]:
    """The published model's predictions for every question; it is trained in a folder that is removed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        experiment = fitted(task.train, folder, seed)
        catalog = Catalog(Settings(store=str(folder / "store"), max_numbers=sys.maxsize))
        try:
            catalog.refresh()
            served = Served(catalog.get(experiment.name).model, experiment, task.train, folder)
            return asyncio.run(served.answers(task.questions))
        finally:
            catalog.close()


def fitted(train: Table, folder: Path, seed: int) -> Experiment:
    """Writes the table, guesses an experiment, fits and publishes it into ``store``, all within a folder."""
    path = folder / "experiment.toml"
    text = experiment_for(train.write(folder / "train"), path)
    path.write_text(re.sub(r"^seed = 1$", f"seed = {seed}", text, flags=re.MULTILINE), encoding="utf-8")
    experiment, text = read_experiment(str(path))
    place = store_at(str(folder / "store"))
    with contextlib.redirect_stdout(io.StringIO()):
        commands.fit(
            experiment, text, place, folder / "run", resume=False, start=None, trackers=(), force=True
        )
    return experiment


@dataclass(frozen=True)
class Served:
    """A published model, that predicts cells of rows of a table.

    Arguments:
        model: The loaded model.
        experiment: Experiment that it was trained by.
        train: Training rows.
        folder: Folder for the files of requested rows.
    """

    model: Model
    experiment: Experiment
    train: Table
    folder: Path

    async def answers(self, questions: Sequence[Question]) -> list[Prediction]:
        return [await self._answer(question) for question in questions]

    async def _answer(self, question: Question) -> Prediction:
        given, places = self._readable(question.given), dict(self._places())
        any_given = np.flatnonzero(given.present[:, list(places)].any(axis=1))
        prediction = _of_training(self.train, len(given))
        requested = {
            places[index].modality
            for index in map(int, np.flatnonzero(question.requested.any(axis=0)))
            if index in places
        }
        rows = self._rows(given.take(any_given))
        for start in range(0, len(any_given), ROWS_AT_ONCE):
            part = slice(start, min(start + ROWS_AT_ONCE, len(any_given)))
            generate = self.model.generate(
                observations(rows.take(part)),
                ["all"],
                sorted(requested),
                fields=("mean", "std", "quantiles", "probabilities", "samples"),
                draws=DRAWS,
                summary_draws=DRAWS,
                seed=0,
                noise=True,
            )
            generated = await asyncio.create_task(generate)  # the memory budget counts by task
            for index, place in places.items():
                if place.modality in requested:
                    summary = generated.targets[place.modality]
                    _store(
                        prediction,
                        any_given[part],
                        index,
                        place,
                        summary,
                        question.truth[any_given[part], index],
                    )
        return prediction

    def _readable(self, table: Table) -> Table:
        """The table without labels that no training row has, which the experiment cannot know."""
        unknown = np.zeros(table.cells.shape, bool)
        for index in np.flatnonzero([bool(column.labels) for column in table.columns]):
            unknown[:, index] = ~np.isin(table.cells[:, index], self.train.cells[:, index])
        return table.without(unknown)

    def _rows(self, table: Table) -> Rows:
        """The rows as training reads them."""
        files = tuple(table.write(self.folder / "requested", sparse=False))
        settings = self.experiment.data
        key = KEY if settings.key else None
        described = settings.model_copy(update={"files": files, "key": key, "test": 0, "validation": 0})
        return data.prepare(self.experiment.model_copy(update={"data": described})).train

    def _places(self) -> Iterator[tuple[int, Place]]:
        """The index and place of each column that the model has."""
        for name, choice in self.experiment.modalities.items():
            if choice.labels is not None:
                index = self._index(choice.field or name)
                codes = self.train.columns[index].labels
                yield index, Place(name, 0, tuple(_code(label, codes) for label in choice.labels))
            for cell, column in enumerate(choice.columns or ()):
                yield self._index(column.field or column.name), Place(name, cell)

    def _index(self, field: str) -> int:
        """Index of the column that a field names, as ``HEADER`` or ``FILE:HEADER``."""
        names = [(column.name, f"{column.file}.csv:{column.name}") for column in self.train.columns]
        (index,) = [index for index, pair in enumerate(names) if field in pair]
        return index


def observations(rows: Rows) -> Observations:
    """Rows of training as the service takes them."""
    columns = {
        name: Column(values.numpy(), rows.masks[name].numpy() if name in rows.masks else None)
        for name, values in rows.data.items()
    }
    return Observations({name: c for name, c in columns.items() if c.present.any()}, len(rows))


def _code(label: str, codes: Sequence[str]) -> int:
    """The code of a label, which ``init`` may have written as another text of the same number."""
    if label in codes:
        return codes.index(label)
    return [float(code) for code in codes].index(float(label))


def _of_training(train: Table, rows: int) -> Prediction:
    """Training means and shares for rows of which nothing is given."""
    mean, std = (np.tile(f(train.values, axis=0), (rows, 1)) for f in (np.nanmean, np.nanstd))
    shares = {
        index: np.tile(
            np.nanmean(np.equal.outer(train.values[:, index], np.arange(len(c.labels))), 0), (rows, 1)
        )
        for index, c in enumerate(train.columns)
        if c.labels
    }
    normal = Prediction(mean, std, shares)
    return Prediction(mean, std, shares, normal.interval_ends(), np.abs(normal.std))


def _store(
    prediction: Prediction, rows: Array, index: int, place: Place, summary: Summary, truth: Array
) -> None:
    """Writes one column of a summary into a prediction."""
    if place.labels:
        shares = np.zeros((len(rows), prediction.probabilities[index].shape[1]))
        shares[:, list(place.labels)] = summary["probabilities"]
        prediction.probabilities[index][rows] = shares
        return
    assert prediction.bounds is not None
    assert prediction.crps is not None
    prediction.mean[rows, index] = summary["mean"][:, place.cell]
    prediction.std[rows, index] = summary["std"][:, place.cell]
    levels = [summary["levels"].index(level) for level in LEVELS]
    prediction.bounds[:, rows, index] = summary["quantiles"][:, levels, place.cell].T
    prediction.crps[rows, index] = crps_of_draws(truth, summary["samples"][:, :, place.cell].T)
