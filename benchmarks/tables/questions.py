"""The questions of the benchmark: which cells are hidden in training and test rows, and predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.tables.sets import Split
from benchmarks.tables.table import Table
from models_store.arrays import Array

Hide = Callable[[Table, np.random.Generator], Array]
"""Maps a table to the mask of the cells that are hidden: boolean (n, columns)."""


@dataclass(frozen=True)
class Question:
    """Test rows with hidden cells, and the cells to predict.

    Arguments:
        given: Test rows without the hidden cells.
        requested: Mask of the cells that are requested for: (n, columns).
        truth: Values of the test rows: (n, columns).
        hide: Hides cells likewise in other rows.
    """

    given: Table
    requested: Array
    truth: Array
    hide: Hide


@dataclass(frozen=True)
class Task:
    """Training rows, and the questions about test rows that one trained model answers."""

    train: Table
    questions: tuple[Question, ...]


def each_view(split: Split) -> Task:
    """Each view from all others."""
    hides = [_view(view) for view in split.test.views]
    return Task(split.train, tuple(_question(split, hide, np.random.default_rng(0)) for hide in hides))


def missing_views(split: Split, share: float, seed: int) -> Task:
    """That share of the views taken from training and test rows; each row keeps at least one."""
    return _missing(split, lambda table, rng: hidden_views(table, share, rng), seed)


def missing_cells(split: Split, share: float, seed: int) -> Task:
    """That share of the cells taken from training and test rows."""
    return _missing(split, lambda table, rng: hidden_cells(table, share, rng), seed)


def given_holes(split: Split, _seed: int) -> Task:
    """The holes that a made table has, whose truth is known."""
    assert split.truth is not None, "only a made table knows what its holes hid"
    requested = split.truth.present & ~split.test.present
    share = 1 - float(split.train.present.mean())
    question = Question(split.test, requested, split.truth.values, lambda t, rng: hidden_cells(t, share, rng))
    return Task(split.train, (question,))


def tasks(name: str, split: Split, seed: int, *, quick: bool) -> Iterator[tuple[str, Task]]:
    """Names and tasks of a set; the quick run has the first alone."""
    first = ("holes", given_holes(split, seed)) if split.truth else ("views", each_view(split))
    yield first
    if quick or split.truth is not None:
        return
    for percent in (10, 30, 50):
        yield f"{percent} % of views", missing_views(split, percent / 100, seed)
    if name not in ("weak", "linear"):  # each of their views is one cell
        yield "30 % of cells", missing_cells(split, 0.3, seed)


def hidden_views(table: Table, share: float, rng: np.random.Generator) -> Array:
    """A mask of that share of the views in the rows that have them; each row keeps at least one."""
    views = [table.of(view) for view in table.views]
    there = np.stack([table.present[:, columns].any(axis=1) for columns in views], axis=1)
    drawn = rng.random(there.shape)
    hidden = there & (drawn < share)
    kept = np.where(there, drawn, -1.0).argmax(axis=1)
    hidden[np.arange(len(table)), kept] = False
    by_column = np.stack(views, axis=0).argmax(axis=0)
    return table.present & hidden[:, by_column]


def hidden_cells(table: Table, share: float, rng: np.random.Generator) -> Array:
    """A mask of that share of the cells that are there."""
    return table.present & (rng.random(table.cells.shape) < share)


def _view(view: str) -> Hide:
    return lambda table, _rng: table.present & table.of(view)


def _question(split: Split, hide: Hide, rng: np.random.Generator) -> Question:
    requested = hide(split.test, rng)
    return Question(split.test.without(requested), requested, split.test.values, hide)


def _missing(split: Split, hide: Hide, seed: int) -> Task:
    rng = np.random.default_rng(seed)
    train = split.train.without(hide(split.train, rng))
    return Task(train, (_question(split, hide, rng),))
