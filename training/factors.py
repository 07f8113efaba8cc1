"""Factor analysis of rows with missing cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models_store.arrays import Array
from models_store.fusion import LOG_2PI

FLOOR = 0.01
"""Least share of the variance of a cell that no factor explains."""
LEAST_VARIANCE = 1e-9
"""Variance of a column that does not vary, or of which no cell is observed; it has no loadings."""


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

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """Mean, (n, k), and covariance, (n, k, k), of the factors given the observed cells of rows."""
        seen = ~np.isnan(x)
        patterns = Patterns.of(seen)
        covariance = np.linalg.inv(patterns.precision(self))[patterns.index]
        score = np.where(seen, x - self.mean, 0.0) / self.variance @ self.loadings
        return (covariance @ score[..., None])[..., 0], covariance


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


def fit_factors(x: Array, k: int, steps: int, shrinkage: float = 0.0) -> FactorModel:
    r"""Maximum likelihood by EM, from the principal components of the pairwise correlations.

    With a shrinkage :math:`\alpha` the covariance S of the rows is replaced by

    .. math:: (1 - \alpha) S + \alpha \operatorname{diag}(S)

    which is to add :math:`\alpha / (1 - \alpha)` times as many rows whose cells are independent.

    References:
        | EM algorithms for ML factor analysis (Rubin & Thayer, 1982)
        | A well-conditioned estimator for large-dimensional covariance matrices (Ledoit & Wolf, 2004)

    Arguments:
        x: Rows, (n, p), NaN where missing.
        k: Number of factors.
        steps: Number of iterations.
        shrinkage: 0 ≤ α < 1.
    """
    rows = _Rows.of(x, shrinkage)
    model = rows.start(k)
    for _ in range(steps if k else 0):
        model = rows.em_step(model)
    varies = rows.variance > LEAST_VARIANCE
    return FactorModel(model.mean, model.loadings * varies[:, None], model.variance)


def perturbed(
    x: Array, model: FactorModel, shrinkage: float, pairs: int, rng: np.random.Generator
) -> list[FactorModel]:
    """Models whose means and loadings differ from fitted ones as far as the rows leave them uncertain.

    Given the factors, each column is a linear regression on them, whose coefficients are normal with the
    variance of what is left times the inverse of the factors' second moments. Each draw has another on the
    other side of the fitted parameters, so that their mean is exact (antithetic draws).

    Arguments:
        x: Rows that ``model`` was fitted to, (n, p), NaN where missing.
        model: Fitted model, of k factors.
        shrinkage: The one it was fitted with.
        pairs: Number of pairs.
        rng: Source of the draws.
    """
    mean, loadings = _Rows.of(x, shrinkage).deviations(model)
    models = []
    for _ in range(pairs):
        of_mean = mean * rng.standard_normal(len(mean))
        of_loadings = (loadings @ rng.standard_normal((*model.loadings.shape, 1)))[..., 0]
        models += [
            FactorModel(model.mean + sign * of_mean, model.loadings + sign * of_loadings, model.variance)
            for sign in (1, -1)
        ]
    return models


@dataclass(frozen=True)
class _Rows:
    """What EM needs of the rows.

    Arguments:
        values: Cells, (n, p), 0 where missing.
        seen: Mask of the observed cells.
        count: Observed cells of each column, at least 1.
        patterns: Patterns of observed cells.
        variance: Variance of each column.
        shrinkage: See :func:`fit_factors`.
        columns: Patterns of rows in which columns are observed, each once: (q, G).
        groups: Which of these each column has, (p,).
    """

    values: Array
    seen: Array
    count: Array
    patterns: Patterns
    variance: Array
    shrinkage: float
    columns: Array
    groups: Array

    @classmethod
    def of(cls, x: Array, shrinkage: float) -> _Rows:
        seen = ~np.isnan(x)
        count = np.maximum(seen.sum(axis=0), 1)
        patterns = Patterns.of(seen)
        columns, groups = np.unique(patterns.seen, axis=1, return_inverse=True)
        values = np.where(seen, x, 0.0)
        mean = values.sum(axis=0) / count
        variance = np.maximum((np.where(seen, values - mean, 0.0) ** 2).sum(axis=0) / count, LEAST_VARIANCE)
        return cls(values, seen, count, patterns, variance, shrinkage, columns, groups.ravel())

    def start(self, k: int) -> FactorModel:
        """The first k principal components."""
        mean = self.values.sum(axis=0) / self.count
        if not k:
            return FactorModel(mean, np.zeros((len(mean), 0)), self.variance)
        scaled = np.where(self.seen, self.values - mean, 0.0) / np.sqrt(self.variance)
        strength, axes = _principal(scaled, self.seen, k)
        size = np.sqrt(np.maximum((1 - self.shrinkage) * (strength - 1), 0.1))
        loadings = axes * size * np.sqrt(self.variance)[:, None]
        left = np.maximum(self.variance - (loadings**2).sum(axis=1), 0.1 * self.variance)
        return FactorModel(mean, loadings, left)

    def em_step(self, model: FactorModel) -> FactorModel:
        """One iteration of EM."""
        added, of_added, with_cells = self._added(model)
        u, of_u, inverse = self._expected(model, of_added)
        centred = np.where(self.seen, self.values - model.mean, 0.0)
        products = centred.T @ u + added[:, None] * with_cells
        loadings = (products[:, None] @ inverse[self.groups])[:, 0]
        unexplained = ((loadings[:, None] @ of_u[self.groups])[:, 0] * loadings).sum(axis=1)
        left = self.values - np.where(self.seen, u @ loadings.T, 0.0)
        mean = left.sum(axis=0) / self.count
        unexplained += (np.where(self.seen, left - mean, 0.0) ** 2).sum(axis=0)
        quadratic = ((loadings @ of_added) * loadings).sum(axis=1)
        unexplained += added * (self.variance - 2 * (loadings * with_cells).sum(axis=1) + quadratic)
        variance = unexplained / (self.count + added)
        return FactorModel(mean, loadings, np.maximum(variance, FLOOR * self.variance))

    def _expected(self, model: FactorModel, of_added: Array) -> tuple[Array, Array, Array]:
        """The factors given the rows.

        Arguments:
            model: Model.
            of_added: Second moments of the factors of an added row, (k, k).

        Returns:
            Their mean, (n, k); and, of the rows in which a group of columns is observed, the sum of their
            covariances and the inverse of the sum of their second moments, (G, k, k) each.
        """
        k = model.loadings.shape[1]
        centred = np.where(self.seen, self.values - model.mean, 0.0)
        covariance = np.linalg.inv(self.patterns.precision(model))
        score = centred / model.variance @ model.loadings
        u = np.einsum("nkl,nl->nk", covariance[self.patterns.index], score, optimize=True)
        spread = self.patterns.counts[:, None, None] * covariance
        of_u = (self.columns.T @ spread.reshape(-1, k * k)).reshape(-1, k, k)
        of_mean = (self.columns.T @ self.patterns.products(u).reshape(-1, k * k)).reshape(-1, k, k)
        share = self.shrinkage / (1 - self.shrinkage) * (self.columns.T @ self.patterns.counts)
        second = of_u + of_mean + share[:, None, None] * of_added
        return u, of_u, np.linalg.inv(second + LEAST_VARIANCE * np.eye(k))  # of no observed cell it is 0

    def deviations(self, model: FactorModel) -> tuple[Array, Array]:
        """How uncertain each column's parameters are given the factors.

        Returns:
            The standard deviation of its mean, (p,), and the Cholesky factor of the covariance of its
            loadings, (p, k, k); 0 for columns that do not vary.
        """
        left = np.sqrt(model.variance) * (self.variance > LEAST_VARIANCE)
        root = np.linalg.cholesky(self._expected(model, self._added(model)[1])[2])[self.groups]
        return left / np.sqrt(self.count), left[:, None, None] * root

    def _added(self, model: FactorModel) -> tuple[Array, Array, Array]:
        """Number of added rows by column, (p,); their E u uᵀ, (k, k); and E x uᵀ, (p, k)."""
        weighted = model.loadings / model.variance[:, None]
        covariance = np.linalg.inv(np.eye(weighted.shape[1]) + model.loadings.T @ weighted)
        scores = weighted @ covariance
        with_cells = self.variance[:, None] * scores
        added = self.count * self.shrinkage / (1 - self.shrinkage)
        return added, covariance + scores.T @ with_cells, with_cells


def _principal(scaled: Array, seen: Array, k: int) -> tuple[Array, Array]:
    """Variances and axes of the first k principal components, (k,) and (p, k); 0 beyond the rows.

    They are of the pairwise correlations, or, which is faster for wide rows, of rows with 0 for gaps.
    """
    n, p = scaled.shape
    if p > n:
        values, axes = np.linalg.svd(scaled, full_matrices=False)[1:]
        more = max(0, k - n)
        return np.pad(values[:k] ** 2 / n, (0, more)), np.pad(axes[:k].T, ((0, 0), (0, more)))
    weights = seen.astype(float)
    strength, axes = np.linalg.eigh(scaled.T @ scaled / np.maximum(weights.T @ weights, 1.0))
    return strength[: -k - 1 : -1], axes[:, : -k - 1 : -1]
