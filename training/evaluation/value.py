"""The value of each view for each target: gains of its predictions with the view, and without it.

Other views share what they know: the gain that a view adds to all others is often far below its gain alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models_store.arrays import Array
from models_store.linear import Experts
from models_store.manifest import Modality
from training.data.rows import Rows
from training.evaluation.evaluated import EvaluatedModel
from training.evaluation.gains import LEARNED, rows_with, sample
from training.evaluation.losses import Losses
from training.evaluation.metrics import Added, Value

ROWS, FEWEST_ROWS = 300, 50
"""Limits of the held-out rows per target: fewer with more pairs of target and view."""
PAIRS_AND_ROWS = 100_000
"""Limit of pairs times rows, where more than ``FEWEST_ROWS`` rows are left."""
DRAWS = 20
"""Draws of z per row: ten and their reflections, so that errors of the mean cancel to first order; the same
for each set of given views."""
NUMBERS = 3_000_000
"""Limit of decoded numbers for each set of given views."""


def values(evaluated: EvaluatedModel) -> dict[str, Value]:
    """Measures what each view adds to the predictions of each target; empty for a single modality."""
    train = sample(evaluated.train, LEARNED, evaluated.seed)
    measured = {}
    for target in evaluated.manifest.modalities:
        others = [name for name in evaluated.manifest.names if name != target.name]
        rows = (
            rows_with(evaluated.test, target.name, others).head(_most(evaluated, target)) if others else None
        )
        if rows is not None and len(rows) > 1:
            answers = _Answers.of(evaluated, Losses.of(target, train), others, rows)
            measured[target.name] = answers.value()
    return measured


def _most(evaluated: EvaluatedModel, target: Modality) -> int:
    pairs = len(evaluated.manifest.names) ** 2
    rows = min(ROWS, evaluated.settings.rows, max(FEWEST_ROWS, PAIRS_AND_ROWS // pairs))
    return max(2, min(rows, NUMBERS // (DRAWS * int(np.prod(target.parameter_shape())))))


@dataclass(frozen=True)
class _Answers:
    """Predictions of a target from any subset of the other views of some rows.

    Arguments:
        evaluated: The model.
        losses: Losses of the target.
        others: Names of the other views.
        x: Observed values of the target, (n, *shape).
        experts: Experts of the other views, (M, n, latent_dim).
        noise: Draws of standard normal noise, (n, DRAWS, latent_dim).
    """

    evaluated: EvaluatedModel
    losses: Losses
    others: Sequence[str]
    x: Array
    experts: Experts
    noise: Array

    @classmethod
    def of(cls, evaluated: EvaluatedModel, losses: Losses, others: Sequence[str], rows: Rows) -> _Answers:
        experts = evaluated.experts(rows, others)
        _, n, dimension = experts.mu.shape
        noise = evaluated.rng().standard_normal((DRAWS // 2, n, dimension), np.float32).swapaxes(0, 1)
        x = rows.data[losses.target.name].numpy()
        return cls(evaluated, losses, others, x, experts, np.concatenate([noise, -noise], axis=1))

    @property
    def present(self) -> Array:
        """Which row has which view, (M, n)."""
        return self.experts.present

    def value(self) -> Value:
        """Values of all views."""
        whole = self._loss(self.present)
        views = {name: self._added(index, whole) for index, name in enumerate(self.others)}
        ordered = sorted(views.items(), key=lambda item: -item[1].get("added", -np.inf))
        return {"measure": self.losses.measure, "views": dict(ordered)}

    def _added(self, index: int, whole: Array) -> Added:
        """The value of the view at ``index``; ``whole``: losses of predictions from all other views, (n,)."""
        here = self.present[index]
        added: Added = {"rows": int(here.sum())}
        if added["rows"] < 2:
            return added
        only = np.zeros_like(self.present)
        only[index] = here
        mean = self.losses.by_row(self.x, self.losses.typical(len(self.x)))
        added["alone"] = self._gain(mean, mean, self._loss(only), here)
        without = self.present.copy()
        without[index] = False
        further = here & without.any(axis=0)
        if further.sum() > 1:
            added["added"] = self._gain(mean, self._loss(without), whole, further)
        return added

    def _gain(self, mean: Array, reference: Array, loss: Array, rows: Array) -> float:
        sums = mean[rows].sum(), reference[rows].sum(), loss[rows].sum()
        return round(float(self.losses.gain(*sums, rows=int(rows.sum()))), 4)

    def _loss(self, present: Array) -> Array:
        """Losses of the predictions from the views of a mask (M, n): (n,)."""
        z = self.experts.product(present).sample(self.noise)
        predicted = self.evaluated.means(self.losses.target.name, z).mean(axis=1)
        return self.losses.by_row(self.x, predicted)
