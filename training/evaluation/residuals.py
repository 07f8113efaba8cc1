"""Fits the factor model of the residuals of a trained model, for ``residuals.npz``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models_store.arrays import Array
from models_store.manifest import Modality
from models_store.residuals import Cells, Residuals, has_residuals
from training.data.rows import Rows
from training.evaluation.evaluated import EvaluatedModel, having
from training.factors import FactorModel, fit_factors

ROWS, DRAWS = 5000, 10_000
"""Limits of training rows, and of rows times draws of z."""
DRAWS_OF_ROW = 10
"""Largest number of draws of z of one row."""
MOST_CELLS = 4096
"""Largest number of cells: the cost is linear in it, but few rows show little of so many."""
MOST_VIEWS = 16
"""Largest number of modalities with factors: each answer then decodes all that are given."""
RANKS = (0, 1, 2, 3, 4, 6, 8, 12, 16)
"""Numbers of factors to try; the one with the highest likelihood of held-out rows is kept."""
FOLDS = 3
CHOOSING_STEPS, STEPS = 50, 200
"""Iterations of EM for each trial, and for the number that is kept."""


def fit_residuals(models: Sequence[EvaluatedModel], held_out: Sequence[Rows]) -> Residuals | None:
    """Fits mean, factors and scale of the residuals of numbers.

    Networks fit training rows better than others, whose residuals are larger. So held-out rows decide whether
    there are factors, and how much wider the residuals of a modality are.

    Arguments:
        models: The model; of an ensemble each member. The first has its training rows.
        held_out: For each, rows that neither trained nor measure it, such as those that chose the epoch; may
            be empty.

    Returns:
        None where there are no factors, and residuals of held-out rows are no wider.
    """
    modalities = [one for one in models[0].manifest.modalities if has_residuals(one)]
    sizes = [one.shape[0] for one in modalities]
    if not 1 <= sum(sizes) <= MOST_CELLS:
        return None
    trained = _residuals(models[:1], modalities, [models[0].train])
    held = _residuals(models, modalities, held_out)
    rank = chosen_rank(trained, models[0].seed) if len(modalities) <= MOST_VIEWS else 0
    if rank and _refuted(trained, held, rank):
        rank = 0
    ends = np.cumsum(sizes)[:-1]
    model = fit_factors(_flat(trained), rank, STEPS)
    widths = _widths(model, held, ends)
    if not rank and all(width == 1 for width in widths):
        return None
    parts = (np.split(part, ends) for part in (model.mean, model.loadings, model.variance))
    cells = [
        Cells(mean, width * loadings, width * np.sqrt(variance))
        for width, (mean, loadings, variance) in zip(widths, zip(*parts, strict=True), strict=True)
    ]
    return Residuals({one.name: of_one for one, of_one in zip(modalities, cells, strict=True)})


def _refuted(trained: Array, held: Array, rank: int) -> bool:
    """Whether held-out rows are less likely with the factors than without, by more than a standard error."""
    with_factors, without = (
        fit_factors(_flat(trained), k, CHOOSING_STEPS).log_prob(_flat(held)) for k in (rank, 0)
    )
    gains = (with_factors - without).reshape(held.shape[:2]).mean(axis=1)
    return len(gains) > 1 and float(gains.mean()) < -float(gains.std(ddof=1)) / math.sqrt(len(gains))


def _widths(model: FactorModel, held: Array, ends: Array) -> list[float]:
    """Factor of the scale of each modality, at least 1: residuals of held-out rows, less a standard error.

    Arguments:
        model: Model of the residuals of training rows.
        held: Residuals of held-out rows, (n, K, p).
        ends: Index of the first cell of each modality but the first.
    """
    total = model.variance + (model.loadings**2).sum(axis=1)
    squares = np.split((held - model.mean) ** 2 / total, ends, axis=-1)
    widths = []
    for of_modality in squares:
        seen = ~np.isnan(of_modality).all(axis=(1, 2))
        rows = np.nanmean(of_modality[seen], axis=(1, 2))
        error = rows.std(ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else math.inf
        widths.append(math.sqrt(max(1.0, rows.mean() - error)) if len(rows) > 1 else 1.0)
    return widths


def _flat(x: Array) -> Array:
    """All draws of all rows, (n K, p)."""
    return x.reshape(-1, x.shape[-1])


def _residuals(
    models: Sequence[EvaluatedModel], modalities: Sequence[Modality], rows: Sequence[Rows]
) -> Array:
    """Residuals of the rows of each model, at draws of z from q(z | all that a row has).

    Returns:
        (n, K, p), NaN where missing.
    """
    some = [having(part, models[0].manifest.names).head(ROWS // len(models)) for part in rows]
    draws = int(np.clip(DRAWS // max(1, sum(map(len, some))), 1, DRAWS_OF_ROW))
    empty = np.zeros((0, draws, sum(one.shape[0] for one in modalities)))
    parts = zip(models, some, strict=True)
    return np.concatenate(
        [empty, *(_drawn(model, modalities, part, draws) for model, part in parts if len(part))]
    )


def _drawn(evaluated: EvaluatedModel, modalities: Sequence[Modality], rows: Rows, draws: int) -> Array:
    posterior = evaluated.posterior(rows, evaluated.manifest.names)
    noise = evaluated.rng().standard_normal((len(rows), draws, posterior.mu.shape[-1]), np.float32)
    z = posterior.sample(noise)
    return np.concatenate([evaluated.residuals_at(one.name, rows, z) for one in modalities], axis=-1)


def chosen_rank(x: Array, seed: int) -> int:
    """Number of factors of the highest likelihood of held-out rows, in :data:`FOLDS` folds.

    Arguments:
        x: Residuals, (n, K, p), NaN where missing; the draws of a row stay together.
        seed: Seed of the folds.
    """
    n, _, p = x.shape
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    best, rank = -np.inf, 0
    for k in [k for k in RANKS if k < min(p, n // FOLDS)]:
        score = sum(_held_out(x, fold == number, k) for number in range(FOLDS)) / max(n, 1)
        if score <= best:
            break
        best, rank = score, k
    return rank


def _held_out(x: Array, held: Array, k: int) -> float:
    model = fit_factors(_flat(x[~held]), k, CHOOSING_STEPS)
    return float(model.log_prob(_flat(x[held])).sum()) / x.shape[1]
