"""Tables as standardised matrices, which the baselines learn from, and predictions from such matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.tables.questions import Hide, Question, Task
from benchmarks.tables.scores import Prediction
from benchmarks.tables.table import Column, Table
from models_store.arrays import Array
from training.evaluation.regressions import moments

LEAST_SHARE = 0.01
"""Least probability that is read from a filled one-hot cell."""
HELD_OUT = 5
"""One row in so many is held out to measure the spread of a method's errors."""

Estimate = tuple[Array, dict[int, Array]]
"""Standardised means of numbers (n, columns), and probabilities of labels by column."""
Answer = Callable[[Question], Estimate]
"""Answers a question about some rows."""
Learn = Callable[["Design", Table], Answer]
"""Learns from training rows."""


@dataclass(frozen=True)
class Design:
    """Encodes rows: numbers standardised, counts as log(1 + x) before, categories one-hot.

    Arguments:
        columns: Columns of the table.
        center: Mean of every encoded column of the training rows: (q,).
        scale: Their standard deviations: (q,).
        source: Index of the table's column behind every encoded column: (q,).
    """

    columns: tuple[Column, ...]
    center: Array
    scale: Array
    source: Array

    @classmethod
    def of(cls, train: Table) -> Design:
        raw, source = _expand(train)
        return cls(train.columns, *moments(raw), source)

    def encode(self, table: Table) -> Array:
        """Encoded rows, NaN where missing: (n, q)."""
        return (_expand(table)[0] - self.center) / self.scale

    def estimate(self, filled: Array) -> Estimate:
        """Reads an estimate from encoded rows without gaps: (n, q)."""
        means, probabilities = np.zeros((len(filled), len(self.columns))), {}
        for index, column in enumerate(self.columns):
            cells = filled[:, self.source == index]
            if column.labels:
                here = self.source == index
                shares = np.maximum(cells * self.scale[here] + self.center[here], LEAST_SHARE)
                probabilities[index] = shares / shares.sum(axis=1, keepdims=True)
            else:
                means[:, index] = cells[:, 0]
        return means, probabilities

    def units(self, means: Array) -> Array:
        """Standardised means (n, columns) in the units of the table."""
        raw = np.zeros_like(means)
        for index, column in enumerate(self.columns):
            if not column.labels:
                (at,) = np.flatnonzero(self.source == index)
                raw[:, index] = means[:, index] * self.scale[at] + self.center[at]
                if column.counts:
                    raw[:, index] = np.expm1(np.clip(raw[:, index], 0, 30))
        return raw


def _expand(table: Table) -> tuple[Array, Array]:
    parts, source = [], []
    for index, column in enumerate(table.columns):
        x = table.values[:, index]
        if column.labels:
            one_hot = np.equal.outer(x, np.arange(len(column.labels))).astype(float)
            parts.append(np.where(np.isnan(x)[:, None], np.nan, one_hot))
        else:
            parts.append((np.log1p(x) if column.counts else x)[:, None])
        source += [index] * parts[-1].shape[1]
    return np.hstack(parts), np.array(source)


def answers(task: Task, learn: Learn, seed: int = 0) -> list[Prediction]:
    """The method's predictions for every question of a task.

    Methods give means. A fifth of the training rows, held out once more, gives the standard deviation of
    their errors, and for counts the factor that keeps the mean, which log(1 + x) does not.
    """
    design = Design.of(task.train)
    held = np.arange(len(task.train)) % HELD_OUT == 0
    whole = learn(design, task.train)
    part = learn(design, task.train.take(~held))
    predictions = []
    for question in task.questions:
        rehearsal = _hidden(task.train.take(held), question.hide, seed)
        factor, std = _errors(design, rehearsal, part(rehearsal)[0], task.train)
        means, probabilities = whole(question)
        mean = design.units(means) * factor
        predictions.append(Prediction(mean, np.broadcast_to(std, mean.shape), probabilities))
    return predictions


def _hidden(table: Table, hide: Hide, seed: int) -> Question:
    requested = hide(table, np.random.default_rng(seed))
    return Question(table.without(requested), requested, table.values, hide)


def _errors(design: Design, question: Question, means: Array, train: Table) -> tuple[Array, Array]:
    """The factor of the means and the standard deviation of errors, by column."""
    spread = np.nanstd(train.values, axis=0)
    factor, std = np.ones(len(spread)), np.where(spread > 0, spread, 1.0)
    predicted = design.units(means)
    for index, column in enumerate(design.columns):
        requested = question.requested[:, index]
        if column.labels or requested.sum() < 2:
            continue
        truth, mean = question.truth[requested, index], predicted[requested, index]
        if column.counts and mean.sum() > 0:
            factor[index] = truth.sum() / mean.sum()
        std[index] = max(np.sqrt(((truth - factor[index] * mean) ** 2).mean()), 1e-3 * std[index])
    return factor, std
