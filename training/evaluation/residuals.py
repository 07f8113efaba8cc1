"""Fits the factor model of the residuals of a trained model, for ``residuals.npz``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models_store.arrays import Array
from models_store.fusion import LOG_2PI, Gaussian
from models_store.manifest import Modality
from models_store.residuals import Cells, Residuals, has_residuals
from training.data.rows import Rows
from training.evaluation.evaluated import EvaluatedModel, having

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
FLOOR = 0.01
"""Least share of the variance of a cell that no factor explains."""


@dataclass(frozen=True)
class FactorModel:
    """Normal distribution of p cells: mean, loadings (p, k) of k factors, and variances of what is left."""

    mean: Array
    loadings: Array
    variance: Array

    def log_prob(self, x: Array) -> Array:
        """Log-density of the observed cells of rows, (n, p), NaN where missing: (n,)."""
        seen = ~np.isnan(x)
        centred = np.where(seen, x - self.mean, 0.0)
        cells = seen * (LOG_2PI + np.log(self.variance)) + centred**2 / self.variance
        patterns = Patterns.of(seen)
        precision = patterns.precision(self)
        score = centred / self.variance @ self.loadings
        explained = np.linalg.solve(precision[patterns.index], score[..., None])[..., 0]
        factors = np.linalg.slogdet(precision)[1][patterns.index] - (score * explained).sum(axis=1)
        return -(cells.sum(axis=1) + factors) / 2


@dataclass(frozen=True)
class Patterns:
    """Rows by the pattern of their observed cells: rows of one pattern share the covariance of the factors.

    Arguments:
        seen: Patterns, (q, p), 1 where observed.
        index: Pattern of each row, (n,).
        counts: Rows of each pattern, (q,).
        order: Order of the rows in which those of a pattern lie together.
    """

    seen: Array
    index: Array
    counts: Array
    order: Array

    @classmethod
    def of(cls, seen: Array) -> Patterns:
        patterns, index, counts = np.unique(seen, axis=0, return_inverse=True, return_counts=True)
        index = index.ravel()
        return cls(patterns.astype(float), index, counts, np.argsort(index, kind="stable"))

    def precision(self, model: FactorModel) -> Array:
        """Precision of the factors given the observed cells, by pattern: (q, k, k)."""
        p, k = model.loadings.shape
        by_cell = model.loadings[:, :, None] * (model.loadings / model.variance[:, None])[:, None]
        return np.eye(k) + (self.seen @ by_cell.reshape(p, k * k)).reshape(len(self.seen), k, k)

    def products(self, u: Array) -> Array:
        """Sums of u uᵀ over the rows of each pattern, from (n, k): (q, k, k)."""
        stops = np.cumsum(self.counts)
        ordered = u[self.order]
        spans = zip(stops - self.counts, stops, strict=True)
        return np.stack([ordered[start:stop].T @ ordered[start:stop] for start, stop in spans])


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
    z = Gaussian(posterior.mu[:, None], posterior.log_var[:, None]).sample(noise)
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


def fit_factors(x: Array, k: int, steps: int) -> FactorModel:
    """Maximum likelihood by EM, from the principal components of the pairwise correlations.

    Reference: EM algorithms for ML factor analysis (Rubin & Thayer, 1982).

    Arguments:
        x: Rows, (n, p), NaN where missing.
        k: Number of factors.
        steps: Number of iterations.
    """
    seen = ~np.isnan(x)
    values, patterns, count = np.where(seen, x, 0.0), Patterns.of(seen), np.maximum(seen.sum(axis=0), 1)
    model = _start(values, seen, k)
    total = model.variance + (model.loadings**2).sum(axis=1)
    for _ in range(steps if k else 0):
        model = _em_step(model, values, seen, patterns, count, FLOOR * total)
    return model


def _start(values: Array, seen: Array, k: int) -> FactorModel:
    count = np.maximum(seen.sum(axis=0), 1)
    mean = values.sum(axis=0) / count
    centred = np.where(seen, values - mean, 0.0)
    variance = np.maximum((centred**2).sum(axis=0) / count, 1e-9)
    if not k:
        return FactorModel(mean, np.zeros((len(mean), 0)), variance)
    scaled = centred / np.sqrt(variance)
    weights = seen.astype(float)
    correlation = scaled.T @ scaled / np.maximum(weights.T @ weights, 1.0)
    strength, axes = (part[..., : -k - 1 : -1] for part in np.linalg.eigh(correlation))
    loadings = axes * np.sqrt(np.maximum(strength - 1, 0.1) * variance[:, None])
    return FactorModel(mean, loadings, np.maximum(variance - (loadings**2).sum(axis=1), 0.1 * variance))


def _em_step(
    model: FactorModel, values: Array, seen: Array, patterns: Patterns, count: Array, least: Array
) -> FactorModel:
    loadings, variance = model.loadings, model.variance
    p, k = loadings.shape
    centred = np.where(seen, values - model.mean, 0.0)
    covariance = np.linalg.inv(patterns.precision(model))
    score = centred / variance @ loadings
    u = np.einsum("nkl,nl->nk", covariance[patterns.index], score, optimize=True)
    spread = patterns.counts[:, None, None] * covariance
    second = (patterns.seen.T @ (spread + patterns.products(u)).reshape(-1, k * k)).reshape(p, k, k)
    loadings = np.linalg.solve(second, (centred.T @ u)[..., None])[..., 0]
    left = values - np.where(seen, u @ loadings.T, 0.0)
    mean = left.sum(axis=0) / count
    of_u = (patterns.seen.T @ spread.reshape(-1, k * k)).reshape(p, k, k)
    squares = np.where(seen, left - mean, 0.0) ** 2
    unexplained = squares.sum(axis=0) + np.einsum("pk,pkl,pl->p", loadings, of_u, loadings, optimize=True)
    return FactorModel(mean, loadings, np.maximum(unexplained / count, least))
