"""Ridge and logistic regression on standardised columns: what a user would try first, for comparison.

Inputs have a mean of 0 and a variance of 1 over the training rows, so a missing cell is 0, its mean.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV

from models_store.arrays import Array

PENALTIES = np.logspace(-1, 5, 13)
"""Penalties of ridge regression, of which generalised cross-validation chooses."""
LEAST_DEVIATION = 1e-9


class Moments(NamedTuple):
    """Means and standard deviations of columns, (q,); 1 for the deviation of a constant column."""

    center: Array
    scale: Array


def moments(raw: Array) -> Moments:
    """Moments of the observed cells of rows, (n, q), NaN where missing."""
    seen = ~np.isnan(raw)
    count = np.maximum(seen.sum(axis=0), 1)
    center = np.where(seen, raw, 0).sum(axis=0) / count
    deviation = np.sqrt((np.where(seen, raw - center, 0) ** 2).sum(axis=0) / count)
    return Moments(center, np.where(deviation > LEAST_DEVIATION, deviation, 1.0))


def ridge() -> Any:
    """A ridge regression with a penalty of its own for each target."""
    return RidgeCV(PENALTIES, alpha_per_target=True)


def logistic() -> Any:
    """A logistic regression."""
    return LogisticRegression(max_iter=300)


def predict_numbers(
    x: Array, y: Array, new: Array, regression: Callable[[], Any] = ridge, *, together: bool = True
) -> Array:
    """Predicts columns of numbers, each learned from the training rows that have it: (k, columns).

    Arguments:
        x: Inputs of n training rows, without NaN: (n, q).
        y: Standardised targets, NaN where missing: (n, columns). 0 is predicted for a column with fewer than
            two cells.
        new: Inputs of the k rows to predict: (k, q).
        regression: Makes a regression of scikit-learn.
        together: Whether one regression may have several targets; then columns with gaps in the same rows
            share one.
    """
    predicted = np.zeros((len(new), y.shape[1]))
    seen = ~np.isnan(y)
    groups: dict[bytes, list[int]] = {}
    for column in range(y.shape[1]):
        key = seen[:, column].tobytes() if together else column.to_bytes(8)
        groups.setdefault(key, []).append(column)
    for columns in groups.values():
        rows = seen[:, columns[0]]
        if rows.sum() < 2:
            continue
        targets = y[rows][:, columns] if together else y[rows, columns[0]]
        fitted = regression().fit(x[rows], targets)
        predicted[:, columns] = fitted.predict(new).reshape(len(new), -1)
    return predicted


def predict_labels(
    x: Array, labels: Array, new: Array, classes: int, classifier: Callable[[], Any] = logistic
) -> Array | None:
    """Predicts probabilities of labels, (k, classes); None where the training rows have fewer than two.

    Arguments:
        x: Inputs of n training rows, without NaN: (n, q).
        labels: Indices of their labels: (n,).
        new: Inputs of the k rows to predict: (k, q).
        classes: Number of labels.
        classifier: Makes a classifier of scikit-learn.
    """
    if len(np.unique(labels)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digit is of no interest
        fitted = classifier().fit(x, labels)
    probabilities = np.zeros((len(new), classes))
    probabilities[:, fitted.classes_] = fitted.predict_proba(new)
    return probabilities
