"""The latent space of a model: a mixture as a second prior, and a map, for ``latent.npz``."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from models_store.arrays import Array
from models_store.fusion import standard_normal
from models_store.latent import Latent, Map, Mixture
from models_store.linear import Posterior
from training.data.rows import Rows
from training.evaluation.evaluated import EvaluatedModel, having, observed
from training.evaluation.metrics import LatentFit

FITTED = 10_000
"""Limit of training rows for the fit of the mixture."""
COMPONENTS = (1, 4, 16, 32)
"""Numbers of components to try; the one with the highest held-out likelihood is kept."""
ROWS_PER_COMPONENT = 50
SHOWN = 1000
"""Limit of points on the map."""
FLOOR = 1e-4
"""Added to every variance, because a component may have few draws."""


def fit_latent(evaluated: EvaluatedModel) -> Latent:
    """Fits the mixture to draws from q(z | x_A) of training rows, and maps held-out rows."""
    names = evaluated.manifest.names
    train = having(evaluated.train, names).head(FITTED)
    rng = evaluated.rng()
    z = _draws(evaluated.posterior(train, names), rng)
    return Latent(fit_mixture(z, evaluated.seed), _map(evaluated, train, z))


def fit_mixture(z: Array, seed: int) -> Mixture:
    """Fits mixtures of each size in ``COMPONENTS``; returns the most likely for a held-out fifth of draws.

    Arguments:
        z: Draws from the aggregate posterior, (n, D), in any order.
        seed: Seed of the initial means of EM.
    """
    kept = np.arange(len(z)) % 5 == 0 if len(z) >= ROWS_PER_COMPONENT else np.zeros(len(z), bool)
    wide = z.astype(np.float64)
    possible = [c for c in COMPONENTS if c == 1 or c * ROWS_PER_COMPONENT <= (~kept).sum()]
    fitted = [_em(wide[~kept], components, seed) for components in possible]
    best = max(fitted, key=lambda mixture_fit: float(mixture_fit.score(wide[kept] if kept.any() else wide)))
    return Mixture(
        best.weights_.astype(np.float32),
        best.means_.astype(np.float32),
        np.linalg.cholesky(best.covariances_).astype(np.float32),
    )


def log_density(mixture: Mixture, z: Array) -> Array:
    """Returns the log-density of the mixture, in nats, (n,), at z of shape (n, D)."""
    terms = []
    for weight, mean, factor in zip(mixture.weights, mixture.means, mixture.factors, strict=True):
        wide = factor.astype(np.float64)
        scaled = np.linalg.solve(wide, (z - mean).T).T
        inside = standard_normal(scaled)
        terms.append(np.log(weight) + inside.log_prob(scaled) - np.log(np.diag(wide)).sum())
    return np.logaddexp.reduce(terms, axis=0)


def fits(evaluated: EvaluatedModel, latent: Latent) -> LatentFit:
    """Returns the mean log-density of draws from held-out posteriors under either prior."""
    names = evaluated.manifest.names
    posterior = evaluated.posterior(having(evaluated.test, names).head(SHOWN), names)
    z = _draws(posterior, evaluated.rng())
    return {
        "components": len(latent.mixture.weights),
        "mixture": round(float(log_density(latent.mixture, z).mean()), 3),
        "standard": round(float(standard_normal(z).log_prob(z).mean()), 3),
    }


def _draws(posterior: Posterior, rng: np.random.Generator) -> Array:
    return posterior.sample(rng.standard_normal(posterior.mu[:, None].shape, np.float32))[:, 0]


def _em(z: Array, components: int, seed: int) -> GaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # the choice is made on held-out draws, not by convergence
        return GaussianMixture(components, max_iter=50, reg_covar=FLOOR, random_state=seed).fit(z)


def _map(evaluated: EvaluatedModel, train: Rows, z: Array) -> Map:
    manifest, names = evaluated.manifest, evaluated.manifest.names
    category = next((m.name for m in manifest.modalities if m.labels is not None), None)
    centre = z.mean(axis=0)
    axes = _axes(z - centre, None if category is None else _labels(train, category))
    shown = having(evaluated.test, names).head(SHOWN if evaluated.examples else 0)
    points = np.zeros((0, 2), np.float32)
    if len(shown):
        points = (evaluated.posterior(shown, names).mu - centre) @ axes.T
    labels = {m.name: _labels(shown, m.name) for m in manifest.modalities if m.labels is not None}
    return Map(axes, centre, points, labels)


def _labels(rows: Rows, category: str) -> Array:
    """Returns the index of each row's label, -1 where it has none."""
    return np.where(observed(rows, category), rows.data[category].numpy(), -1)


def _axes(z: Array, labels: Array | None) -> Array:
    """Returns two orthonormal directions, (2, D): those that separate labels best, else of most variance."""
    dimension = z.shape[1]
    if dimension == 1:
        return np.array([[1.0], [0.0]], np.float32)
    directions = np.linalg.svd(z, full_matrices=False)[2][:2]
    if labels is not None:
        labelled = labels >= 0
        classes = len(np.unique(labels[labelled]))
        if classes > 1 and labelled.sum() > dimension + classes:
            separating = (
                LinearDiscriminantAnalysis(solver="svd").fit(z[labelled], labels[labelled]).scalings_.T[:2]
            )
            directions = np.concatenate([separating, directions])
    # Gram-Schmidt in the order of the directions; signs as they were
    orthonormal, triangle = np.linalg.qr(directions.T.astype(np.float64))
    axes = (orthonormal * np.where(np.diag(triangle) < 0, -1, 1)).T[:2]
    return axes.astype(np.float32)
