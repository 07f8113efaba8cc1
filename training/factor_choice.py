"""Number of factors and shrinkage of a factor analysis, chosen in folds of the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from models_store.arrays import Array
from training.factors import fit_factors
from training.features import Features

RANKS = (4, 9, 18)
"""Numbers of factors to try, beside as many as z has dimensions."""
SHRINKAGES = (0.005, 0.02, 0.1, 0.3, 0.6, 0.8)
"""Shrinkages to try."""
FOLDS, ROWS = 5, 500
"""Folds for the choice, and the most rows of all of them."""
ROUNDS = 3
"""Times that number and shrinkage are chosen in turn; they rarely change after the second."""
STEPS = 10
"""Iterations of EM for each trial."""
HIDDEN = 0.3
"""Share of the cells of a single view that are predicted from the others of the row."""


@dataclass(frozen=True)
class Choice:
    """How a factor analysis is fitted.

    Arguments:
        factors: Number of factors.
        shrinkage: Shrinkage of the correlations, α.
        rows: Rows for which it was chosen.
    """

    factors: int
    shrinkage: float
    rows: int

    def of(self, rows: int) -> float:
        """Shrinkage of other rows: as many rows of independent cells are added, n α / (1 - α)."""
        added = self.rows * self.shrinkage / (1 - self.shrinkage)
        return added / (added + rows)


def best_choice(features: Features, latent_dim: int, seed: int) -> Choice:
    """The number of factors and the shrinkage that predict views and cells best, in some folds.

    One is chosen with the other held fixed, in turn.

    Arguments:
        features: Features of the training rows.
        latent_dim: Largest number of factors.
        seed: Seed of the folds.
    """
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(features.x))[:ROWS]
    features = replace(features, x=features.x[some])
    fold = np.arange(len(some)) % FOLDS
    hidden = np.less(rng.random((len(some), features.columns.max() + 1)), HIDDEN)[:, features.columns]
    most = min(latent_dim, features.x.shape[1])
    ranks = [*(rank for rank in RANKS if rank < most), most]

    @cache
    def error(choice: Choice) -> float:
        return math.fsum(_error(features, fold == k, hidden, choice) for k in range(FOLDS))

    best = Choice(most, SHRINKAGES[2], len(some) - len(some) // FOLDS)
    for _ in range(ROUNDS):
        best = min((replace(best, factors=rank) for rank in ranks), key=error)
        best = min((replace(best, shrinkage=shrinkage) for shrinkage in SHRINKAGES), key=error)
    return best


def _error(features: Features, held: Array, hidden: Array, choice: Choice) -> float:
    """Squared error of numbers of held-out rows, averaged over views.

    Each view is predicted from all others, and some of its cells from all others of the row. Labels count
    where there are no numbers. Their decoders are fitted by themselves (``training/linear.py``),
    and fewer factors than numbers need are enough for them.
    """
    model = fit_factors(features.x[~held], choice.factors, STEPS, choice.shrinkage)
    measured = np.ones_like(features.labels) if features.labels.all() else ~features.labels
    errors = []
    for view in features.views:
        of_view = np.zeros_like(hidden[held])
        of_view[:, view] = True
        some = of_view & hidden[held]
        for without in (some, of_view) if len(features.views) > 1 else (some,):
            z, _ = model.posterior(np.where(without, np.nan, features.x[held]))
            left = features.x[held] - model.mean - z @ model.loadings.T
            left = left[without & ~np.isnan(left) & measured]
            if left.size:
                errors.append((left**2).mean())
    return float(np.mean(errors)) if errors else 0.0
