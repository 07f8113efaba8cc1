"""Scores of predictions, by view and over views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from scipy.stats import norm

from benchmarks.tables.table import Column, Table
from models_store.arrays import Array

LEVELS = (0.05, 0.25, 0.75, 0.95)
"""Ends of the central 90 % and 50 % intervals."""
LEAST_PROBABILITY, LEAST_RATE = 1e-6, 1e-3


@dataclass(frozen=True)
class Prediction:
    """Predictive distributions of the cells of n rows; values where nothing is requested are ignored.

    Arguments:
        mean: Predicted means, (n, columns).
        std: Standard deviations of normal distributions, (n, columns); replaced by ``bounds`` and ``crps``.
        probabilities: By index of a category's column, probabilities of its labels: (n, labels).
        bounds: Quantiles at ``LEVELS``, (4, n, columns); None: those of the normal distribution.
        crps: Continuous ranked probability score, (n, columns); None: that of the normal distribution.
    """

    mean: Array
    std: Array
    probabilities: Mapping[int, Array] = field(default_factory=dict)
    bounds: Array | None = None
    crps: Array | None = None

    def interval_ends(self) -> Array:
        """Quantiles at ``LEVELS``: (4, n, columns)."""
        if self.bounds is not None:
            return self.bounds
        return self.mean + self.std * norm.ppf(LEVELS)[:, None, None]

    def ranked(self, truth: Array) -> Array:
        """Continuous ranked probability score of each cell: (n, columns)."""
        return crps_of_normal(truth, self.mean, self.std) if self.crps is None else self.crps


def crps_of_normal(x: Array, mean: Array, std: Array) -> Array:
    r"""CRPS of a normal distribution.

    .. math:: \sigma \, [ w (2 \Phi(w) - 1) + 2 \varphi(w) - \pi^{-1/2} ], \quad w = (x - \mu) / \sigma

    References:
        | Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting & Raftery, 2007), section 4.2
    """
    w = (x - mean) / std
    return std * (w * (2 * norm.cdf(w) - 1) + 2 * norm.pdf(w) - 1 / np.sqrt(np.pi))


def crps_of_draws(x: Array, draws: Array) -> Array:
    r"""CRPS of the empirical distribution of N draws, :math:`E|X - x| - \frac12 E|X - X'|`.

    Arguments:
        x: Observed values, any shape.
        draws: The same shape with N draws in front.
    """
    ordered, count = np.sort(draws, axis=0), len(draws)
    ranks = (2 * np.arange(1, count + 1) - count - 1).reshape(-1, *[1] * x.ndim)
    return np.abs(draws - x).mean(axis=0) - (ranks * ordered).sum(axis=0) / count**2


def r2(truth: Array, mean: Array, requested: Array, train: Array) -> float:
    """Pooled R² over the requested cells, in standard deviations of training rows, around their means.

    Arguments:
        truth: Values of test rows, (n, columns).
        mean: Their predictions.
        requested: Mask of the cells that count.
        train: Values of training rows, NaN where missing.
    """
    center, scale = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    left = (((truth - mean) / scale) ** 2)[requested].sum()
    return float(1 - left / (((truth - center) / scale) ** 2)[requested].sum())


def deviance_explained(truth: Array, mean: Array, requested: Array, train: Array) -> float:
    """Share of the Poisson deviance around the training means that predictions of counts explain."""
    null = np.broadcast_to(np.nanmean(train, axis=0), truth.shape)

    def deviance(rate: Array) -> float:
        x, mu = truth[requested], np.maximum(rate[requested], LEAST_RATE)
        return float((x * np.log(np.where(x > 0, x, 1) / mu) - (x - mu)).sum())

    return 1 - deviance(mean) / deviance(null)


def view_scores(
    columns: Sequence[Column], prediction: Prediction, truth: Array, requested: Array, train: Table
) -> dict[str, float]:
    """Scores of each view with requested cells: its name and the score's, such as ``labs R²``."""
    scores: dict[str, list[float]] = {}
    for view in train.views:
        here = requested & train.of(view)
        if here.any():
            for name, value in _scores(columns, prediction, truth, here, train):
                scores.setdefault(f"{view} {name}", []).append(value)
    return {name: fmean(values) for name, values in scores.items()}


def averaged(scores: Mapping[str, float]) -> dict[str, float]:
    """The average of each score over views."""
    names = dict.fromkeys(key.rpartition(" ")[2] for key in scores)
    return {name: fmean(v for key, v in scores.items() if key.rpartition(" ")[2] == name) for name in names}


def _scores(
    columns: Sequence[Column], prediction: Prediction, truth: Array, here: Array, train: Table
) -> Iterator[tuple[str, float]]:
    for index in map(int, np.flatnonzero(here.any(axis=0))):
        if columns[index].labels:
            right = truth[here[:, index], index].astype(int)
            probabilities = prediction.probabilities[index][here[:, index]]
            yield "accuracy", float((probabilities.argmax(axis=1) == right).mean())
            yield "log-loss", log_loss(probabilities, right)
    numeric = here & np.array([not column.labels for column in columns])
    if not numeric.any():
        return
    if all(column.counts for column, on in zip(columns, numeric.any(axis=0), strict=True) if on):
        yield "deviance", deviance_explained(truth, prediction.mean, numeric, train.values)
    else:
        yield "R²", r2(truth, prediction.mean, numeric, train.values)
    scale = np.where(np.nanstd(train.values, axis=0) > 0, np.nanstd(train.values, axis=0), 1.0)
    yield "CRPS", float((prediction.ranked(truth) / scale)[numeric].mean())
    low, lower, upper, high = prediction.interval_ends()
    yield "coverage50", float(((lower <= truth) & (truth <= upper))[numeric].mean())
    yield "coverage90", float(((low <= truth) & (truth <= high))[numeric].mean())


def log_loss(probabilities: Array, right: Array) -> float:
    """Mean of -log p(true label), probabilities being at least 1e-6."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(right)), right], LEAST_PROBABILITY)).mean())
