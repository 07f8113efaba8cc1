r"""Losses of predictions by held-out row, and gains of one prediction over another.

With :math:`a_i, b_i` the losses of a reference and of a prediction in row i, and :math:`c_i` those of the
training mean, the gain is

.. math:: \frac{\sum_i a_i - b_i}{\sum_i c_i} \quad \text{(share of the variance or deviance)}
    \qquad \frac1n \sum_i a_i - b_i \quad \text{(nats)}

so that the gain of numbers over the training mean is R².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from models_store.arrays import Array
from models_store.manifest import Modality
from training.data.rows import Rows
from training.evaluation.evaluated import observed
from training.evaluation.regressions import Moments, moments

Measure = Literal["R²", "deviance", "nats"]
"""Unit of a gain: explained share of the squared error or of the Poisson deviance; nats of log-loss."""
LEAST_PROBABILITY, LEAST_RATE = 1e-6, 1e-3


def numbers_of(target: Modality, x: Array) -> Array:
    """Cells of rows, (*, *shape), with NaN in place of labels of the kind table."""
    labelled = [part.labels > 0 for part in target.parts]
    return np.where(labelled, np.nan, x) if any(labelled) else x.astype(np.float64)


@dataclass(frozen=True)
class Losses:
    """Losses of a target's predictions, by row.

    Arguments:
        target: The target.
        moments: Centre and scale of the cells in the training rows; of a category, its centre holds the
            shares of the labels, and its scale is 1.
    """

    target: Modality
    moments: Moments

    @classmethod
    def of(cls, target: Modality, train: Rows) -> Losses:
        """Measures by the training rows that have the target."""
        x = train.data[target.name].numpy()[observed(train, target.name)]
        if target.traits.mixed:
            center, scale = moments(numbers_of(target, x))
            return cls(target, Moments(numbers_of(target, center), scale))
        if target.labels is None:
            return cls(target, moments(x.reshape(len(x), -1).astype(np.float64)))
        shares = np.bincount(x, minlength=len(target.labels)) / max(1, len(x))
        return cls(target, Moments(shares, np.ones_like(shares)))

    @property
    def measure(self) -> Measure:
        """Unit of the target's gains."""
        if self.target.labels is not None:
            return "nats"
        return "deviance" if self.target.distribution.of_counts else "R²"

    def typical(self, rows: int) -> Array:
        """The training mean, or the shares of the labels, for every row."""
        shape = (rows, len(self.target.labels)) if self.target.labels else (rows, *self.target.shape)
        return np.broadcast_to(self.moments.center, (rows, self.moments.center.size)).reshape(shape)

    def by_row(self, x: Array, predicted: Array) -> Array:
        """Loss of each row: (n,).

        Nats of the true label; Poisson deviance of counts; else squared error over the observed cells, of
        columns in training variances, of pictures and other shapes in their one unit. Labels of the kind
        table do not count.

        Arguments:
            x: Observed values, (n, *shape), NaN where missing; of a category the indices of its labels, (n,).
            predicted: Predicted means, same shape; of a category probabilities, (n, labels).
        """
        if self.measure == "nats":
            return -np.log(np.maximum(predicted[np.arange(len(x)), x], LEAST_PROBABILITY))
        values, means = x.reshape(len(x), -1).astype(np.float64), predicted.reshape(len(x), -1)
        if self.measure == "deviance":
            rate = np.maximum(means, LEAST_RATE)
            ratio = np.log(np.where(values > 0, values, 1.0) / np.where(values > 0, rate, 1.0))
            return np.nansum(2 * (values * ratio - (values - rate)), axis=1)
        scale = self.moments.scale if "columns" in self.target.traits.fields else 1.0
        return np.nansum(((values - means) / scale) ** 2, axis=1)

    def gain(self, mean: Array, reference: Array, loss: Array, rows: int) -> Array:
        """Gain of a prediction over a reference, from sums of losses over rows: (*).

        Arguments:
            mean: Sums of the losses of the training mean, (*).
            reference: Sums of the losses of the reference, (*).
            loss: Sums of the losses of the prediction, (*).
            rows: Number of rows of a sum.
        """
        if self.measure == "nats":
            return (reference - loss) / rows
        return (reference - loss) / np.maximum(mean, np.finfo(float).tiny)
