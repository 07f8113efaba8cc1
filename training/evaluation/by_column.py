"""Metrics of tables of mixed columns: each column given the other cells of its row and all other views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from models_store.arrays import Array
from models_store.manifest import Modality
from training.data.rows import Rows
from training.evaluation.answers import calibration, covered, questions, r2
from training.evaluation.cells import Cell, CellPrediction, cells_of, predict
from training.evaluation.evaluated import EvaluatedModel, observed, question
from training.evaluation.gains import LEARNED, columns, gain_of, regress, sample
from training.evaluation.losses import Losses
from training.evaluation.metrics import AnswerMetrics, Gain
from training.evaluation.predicting import DRAWS

MOST_COLUMNS = 64
"""Columns of a table that are measured; of more, so many at equal distances."""
FEWEST_ROWS, NUMBERS = 50, 60_000_000
"""Held-out rows that are measured at least, and limit of decoded numbers of all columns of a table."""


def _no_answers() -> AnswerMetrics:
    return {"accuracy": {}, "calibration": {}, "intervals": {}}


@dataclass(frozen=True)
class ColumnMetrics:
    """Metrics by column.

    Arguments:
        answers: Accuracy and calibration of labels, R² and coverage of numbers, by question.
        gains: Gains over simpler predictions, by name of the column: ``table.column``.
    """

    answers: AnswerMetrics = field(default_factory=_no_answers)
    gains: dict[str, Gain] = field(default_factory=dict)


def column_metrics(evaluated: EvaluatedModel) -> ColumnMetrics:
    """Measures the columns of every table; nothing where a model has none."""
    measured, train = ColumnMetrics(), sample(evaluated.train, LEARNED, evaluated.seed)
    for table, given, rows in questions(evaluated):
        if table.traits.mixed:
            _answer_labels(measured.answers, evaluated, table, given, rows)
    for cell in _measured(evaluated):
        rows, index = cell.hidden(evaluated.test)
        most = max(FEWEST_ROWS, NUMBERS // (DRAWS * len(cell.table.parts) * cell.table.parameter_shape()[0]))
        rows, index = rows.head(most), index[:most]
        if len(rows) > 1:
            x = cell.alone(evaluated.test).data[cell.table.name].numpy()[index]
            prediction = predict(evaluated, cell, rows)
            conditional = question([cell.name], evaluated.manifest.names)
            _answer(measured.answers, conditional, cell, x, prediction)
            measured.gains[cell.name] = _gain(evaluated, cell, x, prediction, train, rows)
    return measured


def _answer_labels(
    answers: AnswerMetrics, evaluated: EvaluatedModel, table: Modality, given: Sequence[str], rows: Rows
) -> None:
    """Measures the labels of a table given other views."""
    for cell in cells_of(table):
        if cell.target.labels:
            visible = cell.alone(rows)
            some = torch.from_numpy(observed(visible, table.name))
            if some.sum() > 1:
                prediction = predict(evaluated, cell, rows.take(some), given)
                x = visible.data[table.name][some].numpy()
                _answer(answers, question([cell.name], given), cell, x, prediction)


def _measured(evaluated: EvaluatedModel) -> Iterator[Cell]:
    for table in evaluated.manifest.modalities:
        cells = cells_of(table)
        count = min(len(cells), MOST_COLUMNS)
        yield from (cells[number * len(cells) // count] for number in range(count))


def _answer(
    answers: AnswerMetrics, conditional: str, cell: Cell, x: Array, prediction: CellPrediction
) -> None:
    if prediction.low is None or prediction.high is None:
        right = prediction.mean.argmax(axis=1) == x
        answers["accuracy"][conditional] = round(float(right.mean()), 4)
        answers["calibration"][conditional] = calibration(prediction.mean, x)
        return
    half, most, nearly_all = covered(x, prediction.low, prediction.high)
    answers["intervals"][conditional] = {
        "r2": round(r2(cell.target, x, prediction.mean), 4),
        "coverage_50": half,
        "coverage_80": most,
        "coverage_90": nearly_all,
        "rows": len(x),
    }


def _gain(
    evaluated: EvaluatedModel, cell: Cell, x: Array, prediction: CellPrediction, train: Rows, rows: Rows
) -> Gain:
    target, losses = cell.target, Losses.of(cell.target, cell.alone(train))
    coverage = None
    if prediction.low is not None and prediction.high is not None:
        half, _, nearly_all = covered(x, prediction.low, prediction.high)
        coverage = half, nearly_all
    simple = None
    if all(modality.traits.tabular for modality in evaluated.manifest.modalities):
        visible = cell.alone(train)
        has = torch.from_numpy(observed(visible, cell.table.name))
        hidden = _without(cell, train).take(has)
        simple = regress(target, visible.take(has), _inputs(evaluated, hidden), _inputs(evaluated, rows))
    return gain_of(losses, x, prediction.mean, simple, coverage, evaluated.seed)


def _without(cell: Cell, rows: Rows) -> Rows:
    x = rows.data[cell.table.name].clone()
    x[:, cell.at] = torch.nan
    return Rows({**rows.data, cell.table.name: x}, rows.masks)


def _inputs(evaluated: EvaluatedModel, rows: Rows) -> Array:
    return np.hstack([columns(modality, rows) for modality in evaluated.manifest.modalities])
