"""Measures predictions of one modality from others: accuracy and calibration, R² and coverage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from models_store.arrays import Array
from models_store.calibration import tempered
from models_store.linear import Posterior
from models_store.manifest import Modality
from training.data.rows import Rows
from training.evaluation.evaluated import EvaluatedModel, having_all, question
from training.evaluation.losses import numbers_of
from training.evaluation.metrics import AnswerMetrics, Calibration, Intervals
from training.evaluation.predicting import DRAWS, answered

CELLS = 20_000_000
"""Limit of values drawn for the intervals of one target; large modalities are measured on fewer rows."""
BINS = 10
"""Bins of the reliability table: equal ranges of the probability of the most probable label."""


def questions(evaluated: EvaluatedModel) -> Iterator[tuple[Modality, tuple[str, ...], Rows]]:
    """Yields each target, each subset of the others, and the held-out rows that have all of both."""
    for target in evaluated.manifest.modalities:
        others = [name for name in evaluated.manifest.names if name != target.name]
        for given in evaluated.subsets(others):
            rows = having_all(evaluated.test, [target.name, *given])
            if len(rows) > 1:
                yield target, given, rows


def answer_metrics(evaluated: EvaluatedModel) -> AnswerMetrics:
    """Measures every target given every subset of the others."""
    metrics: AnswerMetrics = {"accuracy": {}, "calibration": {}, "intervals": {}}
    for target, given, rows in questions(evaluated):
        conditional = question([target.name], given)
        if target.labels is not None:
            probabilities = label_probabilities(evaluated, target.name, given, rows)
            right = rows.data[target.name].numpy()
            metrics["accuracy"][conditional] = round(float((probabilities.argmax(axis=1) == right).mean()), 4)
            metrics["calibration"][conditional] = calibration(probabilities, right)
        elif not target.parts or any(not part.labels for part in target.parts):
            most = max(2, CELLS // (DRAWS * math.prod(target.shape)))
            some = rows.head(min(evaluated.settings.rows, most))
            metrics["intervals"][conditional] = intervals(evaluated, target, given, some)
    return metrics


def label_probabilities(evaluated: EvaluatedModel, category: str, given: Sequence[str], rows: Rows) -> Array:
    """Returns p(label | x_S) of every row as answered, averaged over draws of z: (n, labels)."""
    probabilities = probabilities_at(evaluated, category, evaluated.posterior(rows, given))
    correction = evaluated.calibration.of(category, given) if evaluated.calibration else None
    if correction is not None and correction.temperature is not None:
        return tempered(probabilities, correction.temperature)
    return probabilities


def probabilities_at(evaluated: EvaluatedModel, category: str, posterior: Posterior) -> Array:
    """Returns the mean of p(label | z) over draws of z from the posterior of each row: (n, labels)."""
    rng = evaluated.rng()
    total = np.zeros(())
    for _ in range(DRAWS):
        z = posterior.sample(rng.standard_normal(posterior.mu[:, None].shape, np.float32))
        total = total + evaluated.means(category, z[:, 0])
    return total / DRAWS


def calibration(probabilities: Array, right: Array) -> Calibration:
    """Compares the probability of the most probable label with its accuracy.

    Arguments:
        probabilities: (n, labels).
        right: Indices of the true labels, (n,).
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == right
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = []
    for number in np.unique(place):
        selected = place == number
        bins.append(
            (float(confidence[selected].mean()), float(correct[selected].mean()), int(selected.sum()))
        )
    selection = np.take_along_axis(probabilities, right[:, None], axis=1)
    return {
        "log_loss": round(float(-np.log(np.maximum(selection, 1e-12)).mean()), 4),
        "ece": round(sum(abs(predicted - was) * n for predicted, was, n in bins) / len(right), 4),
        "bins": [[round(predicted, 4), round(was, 4), n] for predicted, was, n in bins],
    }


def intervals(evaluated: EvaluatedModel, target: Modality, given: Sequence[str], rows: Rows) -> Intervals:
    """Compares the mean and the intervals of ``/generate`` for a target with the observed values."""
    x = numbers_of(target, rows.data[target.name].numpy())
    mean, low, high = answered(evaluated, target, given, rows)
    half, most, nearly_all = covered(x, low, high)
    return {
        "r2": round(r2(target, x, mean), 4),
        "coverage_50": half,
        "coverage_80": most,
        "coverage_90": nearly_all,
        "rows": len(rows),
    }


def covered(x: Array, low: Array, high: Array) -> list[float]:
    """Shares of observed cells, (n, *shape), within the intervals (n, coverages, *shape), by coverage."""
    inside, seen = (low <= x[:, None]) & (x[:, None] <= high), ~np.isnan(x)
    return [round(float(inside[:, level][seen].mean()), 4) for level in range(inside.shape[1])]


def r2(target: Modality, x: Array, mean: Array) -> float:
    """Returns R² of a predicted mean.

    Vectors and counts: R² of each column that varies, averaged over columns, because columns differ in unit.
    Other kinds: residual and total variance are summed over cells first, because a pixel that hardly varies
    would otherwise weigh as much as any other.

    Arguments:
        target: The predicted modality.
        x: Observed values, (n, *shape), NaN where missing.
        mean: Predicted mean, (n, *shape).
    """
    flat, predicted = x.reshape(len(x), -1).astype(np.float64), mean.reshape(len(x), -1)
    seen = np.maximum((~np.isnan(flat)).sum(axis=0), 1)
    left = np.nansum((flat - predicted) ** 2, axis=0)
    total = np.nansum((flat - np.nansum(flat, axis=0) / seen) ** 2, axis=0)
    if "columns" not in target.traits.fields:
        left, total = left.sum(keepdims=True), total.sum(keepdims=True)
    vary = total > 0
    return float((1 - left[vary] / total[vary]).mean()) if vary.any() else 0.0
