"""The text of a first experiment file, from what was guessed of the modalities.

All of it is written by tomlkit, so that a header with line breaks, quotes or control characters stays text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Array, InlineTable, Table, Trivia

from models_store.kinds import KINDS
from models_store.tables.dialect import TableLayout
from training.tables.marks import NO_MARKS, Marks
from training.tables.naming import modality_name

MOST_HELD_OUT = 10_000
STEPS = 8000
"""Optimizer steps of a first training run on pictures, sounds and other large arrays."""
LINEAR_STEPS, TABLE_STEPS = 600, 1000
"""Optimizer steps on columns of numbers, labels and counts, beside a linear model and without, ..."""
LARGE_TABLE_STEPS = 4000
"""... and on tables of at least LARGE_TABLE rows."""
LARGE_TABLE = 5000
LINEAR_WIDTH, LINEAR_ROWS = 1000, 50_000
"""Most numbers and labels of the views, and most rows, that get a linear model: its time grows with both."""
EPOCH_ROWS, MOST_PARTS = 1_000_000, 100
"""Rows of an epoch of a data set with more of them, and the most such epochs in which all rows are read."""
HIDDEN_CELLS, HIDING = 0.25, ("vector", "counts")
"""Mean share of the cells that are hidden from the encoder in training, and the kinds whose cells are."""
MANY_VIEWS = 6
"""From so many modalities on, `coherent` can diverge: see ``training/objective.py``."""

LARGE_SIDE = 32
"""Pictures with at least so many pixels a side are learned by convolutions, ..."""
SMALL_SIDE = 8
"""... which leave about so many."""


@dataclass(frozen=True)
class Guess:
    """One modality as it will be written.

    Arguments:
        name: Name of the modality.
        kind: Kind of the modality.
        settings: Its other keys in the experiment file, but for the network.
        shape: Shape of one row; a category has none.
        comment: Reason of the guess.
        remarks: Sentences on what to check.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    shape: tuple[int, ...]
    comment: str
    remarks: Sequence[str] = ()

    @property
    def cells(self) -> int:
        """The numbers in one row."""
        return math.prod(self.shape)

    @property
    def width(self) -> int:
        """The numbers in one row, and the labels of categories."""
        columns: Sequence[Mapping[str, Any]] = self.settings.get("columns", ())
        labels = sum(len(part["labels"]) - 1 for part in (self.settings, *columns) if part.get("labels"))
        return self.cells + labels


@dataclass(frozen=True)
class Draft:
    """Content of an experiment file.

    Arguments:
        paths: Files of the data.
        output: Place of the experiment file.
        dialects: By file, how it is written.
        key: Column that joins the rows of several files.
        rows: Number of rows.
        guesses: The modalities.
        notes: By heading, sentences that are written as comments at the end.
        marks: Cells that mean a missing value.
        address: Address of a data set; None for other files.
    """

    paths: Sequence[Path]
    output: Path
    dialects: Mapping[str, TableLayout]
    key: str | None
    rows: int
    guesses: Sequence[Guess]
    notes: Mapping[str, Sequence[str]]
    marks: Marks = NO_MARKS
    address: str | None = None

    @property
    def place(self) -> str:
        """The files, or the address of the data set, in a sentence."""
        return self.address or joined(self.paths)

    @property
    def held_out(self) -> int:
        """Rows for validation, and as many for testing."""
        return min(max(1, self.rows // 10), MOST_HELD_OUT)

    @property
    def train_rows(self) -> int:
        """Rows of training."""
        return self.rows - 2 * self.held_out

    @property
    def epoch_rows(self) -> int:
        """Rows of an epoch."""
        part = max(EPOCH_ROWS, math.ceil(self.train_rows / MOST_PARTS))
        return self.train_rows if self.address is None else min(self.train_rows, part)

    @cached_property
    def latent_dim(self) -> int:
        """Dimensions of z."""
        return min(32, max(2, sum(min(guess.cells, 16) for guess in self.guesses)))

    @cached_property
    def schedule(self) -> Schedule:
        """Training of the first run."""
        return _schedule(self.train_rows, self.epoch_rows, self.guesses, together=self.address is None)

    @property
    def steps(self) -> int:
        """Optimizer steps of the first run."""
        return self.schedule.epochs * math.ceil(self.epoch_rows / self.schedule.batch)

    def network(self, guess: Guess) -> dict[str, Any]:
        """Network of a modality."""
        return _networks(guess, self.schedule.layers)[0]

    def text(self) -> str:
        """The experiment file."""
        schedule = self.schedule
        document = tomlkit.document()
        _comment(document, f"Guessed from {self.place} ({self.rows} rows): read it, correct it, then run")
        _comment(document, "")
        _comment(document, f"  anyview-train fit {self.output}")
        _comment(document, "")
        document.add("name", tomlkit.item(modality_name(self.paths[0].resolve().stem, set())))
        document.add("description", tomlkit.item(""))
        document.add("licence", tomlkit.item(""))
        document.add("seed", tomlkit.item(1))
        _comment(document, "examples = false     # keeps every row of yours out of what is published")
        document.add("data", self._data())
        if self.dialects:
            document["data"].append("dialects", self._dialects())
        modalities = tomlkit.table(is_super_table=True)
        for guess in self.guesses:
            modalities.add(guess.name, _modality(guess, schedule))
        document.add("modalities", modalities)
        document.add("model", self._model(schedule))
        document.add("fit", self._fit(schedule))
        for heading, lines in self.notes.items():
            if lines:
                document.add(tomlkit.nl())
                _comment(document, f"{heading}:")
                for line in lines:
                    _comment(document, f"  {line}")
        return tomlkit.dumps(document)

    def _data(self) -> Table:
        table = tomlkit.table()
        if self.address is None:
            _add(table, "source", "table")
            _add(table, "files", [str(path) for path in self.paths], "seen from where the command runs")
        else:
            _add(table, "source", "dataset")
            _add(table, "address", self.address, "a path is seen from where the command runs")
            if self.epoch_rows < self.train_rows:
                _add(table, "epoch_rows", self.epoch_rows, "the run is validated and saved after so many")
        if self.key:
            _add(table, "key", self.key, "rows with the same value belong together")
        if self.marks.everywhere:
            _add(table, "missing", list(self.marks.everywhere), "cells that mean a missing value")
        if self.marks.by_column:
            _add(table, "missing_by_column", {key: list(some) for key, some in self.marks.by_column.items()})
        _add(table, "test", self.held_out, "random rows that are never trained on")
        _add(table, "validation", self.held_out, "random rows that choose the best epoch")
        table.add(tomlkit.nl())
        return table

    def _dialects(self) -> Table:
        table = tomlkit.table(is_super_table=True)
        for path, layout in self.dialects.items():
            settings = tomlkit.table()
            for key, value in layout.model_dump(exclude_none=True).items():
                _add(settings, key, value, DIALECT_REMARKS.get(key, ""))
            settings.add(tomlkit.nl())
            table.add(path, settings)
        return table

    def _model(self, schedule: Schedule) -> Table:
        table = tomlkit.table()
        _add(table, "latent_dim", self.latent_dim)
        if schedule.linear:
            _add(table, "linear", True, "a linear model beside the network; validation rows weigh both")
        _add(table, "warmup", min(10, schedule.epochs // 3))
        if schedule.objective:
            _add(table, "objective", schedule.objective, OBJECTIVE_REASON)
        table.add(tomlkit.nl())
        return table

    def _fit(self, schedule: Schedule) -> Table:
        table = tomlkit.table()
        _add(table, "epochs", schedule.epochs)
        _add(table, "batch_size", schedule.batch)
        _add(table, "learning_rate", schedule.learning_rate)
        _add(
            table,
            "patience",
            max(20, schedule.epochs // 4),
            "epochs without a lower validation loss, then stop",
        )
        if schedule.layers == 1:
            _add(table, "average", 0.99, "validate and keep averaged weights")
        return table


def _modality(guess: Guess, schedule: Schedule) -> Table:
    table = tomlkit.table()
    _comment(table, guess.comment)
    _add(table, "kind", guess.kind)
    for key, value in guess.settings.items():
        _add(table, key, value)
    network, other, remark = _networks(guess, schedule.layers)
    if schedule.hides and guess.kind in HIDING and len(guess.settings.get("columns", ())) > 1:
        _add(
            table, "hidden_cells", HIDDEN_CELLS, "mean share of the cells that are predicted from the others"
        )
    _add(table, "network", network)
    if other:
        _comment(table, f"{tomlkit.dumps({'network': _item(other)}).strip()}     # {remark}")
    table.add(tomlkit.nl())
    return table


def _item(value: Any) -> Any:
    """A value of TOML; a list of tables has one on each line."""
    if isinstance(value, Mapping):
        pairs: InlineTable = tomlkit.inline_table()
        pairs.update({key: _item(part) for key, part in value.items()})
        return pairs
    if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        return Array([_item(row) for row in value], Trivia(), multiline=True)
    return tomlkit.item(list(value) if isinstance(value, tuple) else value)


def _add(table: Table, key: str, value: Any, remark: str = "") -> None:
    item = _item(value)
    if remark:
        item.comment(remark)
        item.trivia.comment_ws = "     "
    table.add(key, item)


def _comment(container: tomlkit.TOMLDocument | Table, text: str) -> None:
    container.add(tomlkit.comment(printable(text)))


DIALECT_REMARKS = {"missing": "further cells that mean missing", "title_lines": "lines before the header"}
OBJECTIVE_REASON = "stable for any number of views, and each view is learned from the others"


@dataclass(frozen=True)
class Schedule:
    """How a first run trains.

    Arguments:
        epochs: Number of epochs.
        batch: Rows of a batch.
        learning_rate: Highest learning rate.
        layers: Hidden layers of a fully connected network.
        objective: Name of the objective; None: the default.
        hides: Whether cells of views of several columns are hidden from the encoders.
        linear: Whether the network has a linear model beside it.
    """

    epochs: int
    batch: int
    learning_rate: float
    layers: int
    objective: str | None
    hides: bool
    linear: bool


def _schedule(rows: int, epoch_rows: int, guesses: Sequence[Guess], *, together: bool) -> Schedule:
    """Chooses steps, rate and depth by the number of training rows and by what is learned.

    On tables of a few hundred rows (pbc, breast, weak views; three splits) one hidden layer at 3e-3 with
    averaged weights and 1,000 steps came within .03 R² of ridge regression, where two layers at 1e-3 learned
    nothing of views of one column. With a linear model beside the network, 600 steps are as good as 1,000. Of
    hidden cells and of the linear model see ``benchmarks/README.md``.
    """
    tabular = all(KINDS[guess.kind].tabular for guess in guesses)
    objective = "conditional" if tabular or len(guesses) >= MANY_VIEWS else None
    small = tabular and rows < LARGE_TABLE
    narrow = rows <= LINEAR_ROWS and sum(guess.width for guess in guesses) <= LINEAR_WIDTH
    linear = tabular and together and narrow
    if tabular:
        batch = min(64 if small else 256, max(8, rows // 4))
        steps = LARGE_TABLE_STEPS if not small else LINEAR_STEPS if linear else TABLE_STEPS
        rate, layers = 3e-3, 1
    else:
        batch, steps, rate, layers = min(128, max(8, rows // 16)), STEPS, 1e-3, 2
    epochs = min(300, max(math.ceil(rows / epoch_rows), math.ceil(steps / math.ceil(epoch_rows / batch))))
    return Schedule(epochs, batch, rate, layers, objective, hides=tabular, linear=linear)


def _networks(guess: Guess, layers: int) -> tuple[dict[str, Any], dict[str, Any] | None, str]:
    """Fully connected, but for pictures that are not small; of a picture the other choice, too."""
    width = 64 if guess.cells <= 32 else 256 if guess.cells <= 512 else 400
    full: dict[str, Any] = {"hidden": [width] * layers}
    kind = KINDS[guess.kind]
    if kind.default_network != "conv":
        return full, None, ""
    side = sorted(guess.shape[: kind.layout])[-2]  # the shorter side of a picture
    halvings = max(2, round(math.log2(side / SMALL_SIDE)))
    conv = {"type": "conv", "channels": [32, *[64] * (halvings - 1)], "hidden": [256]}
    if side >= LARGE_SIDE:
        return conv, full, "several times faster, and worse"
    return full, conv, "several times slower, and often better"


def printable(text: str) -> str:
    """The text on one line: line breaks and control characters are escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def joined(paths: Sequence[Path | str]) -> str:
    """The files in a sentence."""
    return " and ".join(str(path) for path in paths)
