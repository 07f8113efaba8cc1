r"""Shape of the tail of importance weights: a generalised Pareto distribution of their largest.

References:
    | Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao & Gabry, 2024)
    | https://jmlr.org/papers/v25/19-556.html
    | A New and Efficient Estimation Method for the Generalized Pareto Distribution (Zhang & Stephens, 2009)
    | https://doi.org/10.1198/tech.2009.08017
"""

from __future__ import annotations

import math

import numpy as np

from models_store.arrays import Array

FEWEST = 5
"""Least number of weights in the tail for a fit."""
PRIOR_SHAPE, PRIOR_WEIGHT = 0.5, 10
"""The estimate is averaged with this shape, as if so many weights had shown it."""


def shape_of_tail(log_weights: Array) -> float:
    r"""Fit k-hat, the shape of the tail, to the ``min(K / 5, 3 sqrt(K))`` largest of K weights.

    Weights have a finite variance where the shape is below 1/2, a finite mean where it is below 1.

    Arguments:
        log_weights: Logarithms of the weights, (K,), without NaN.

    Returns:
        k-hat; NaN where there is no tail to judge: too few weights, or all of the largest alike; infinite
        where fewer than five lie above the others.

    Example:
        Of 10,000 weights 1 / U^(1/2), whose tail has the shape 1/2:

        >>> uniform = (np.arange(10_000) + 0.5) / 10_000
        >>> round(shape_of_tail(-0.5 * np.log(uniform)), 1)
        0.5
    """
    draws = len(log_weights)
    tail = math.ceil(min(draws / 5, 3 * math.sqrt(draws)))
    largest = np.max(log_weights, initial=-math.inf)
    if tail < FEWEST or not np.isfinite(largest):
        return math.nan
    ordered = np.partition(log_weights, range(draws - tail - 1, draws))[draws - tail - 1 :]
    weights = np.exp(ordered - largest)
    excess = np.sort(weights[1:] - weights[0])
    excess = excess[excess > 1e-9]
    if not len(excess):
        return math.nan
    return _fit(excess) if len(excess) >= FEWEST else math.inf


def _fit(excess: Array) -> float:
    """The posterior mean of Zhang & Stephens for the shape, from excesses in ascending order, (n,)."""
    n = len(excess)
    grid = 30 + math.floor(math.sqrt(n))
    quartile = excess[math.floor(n / 4 + 0.5) - 1]
    theta = 1 / excess[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile)
    shapes = np.log1p(-theta[:, None] * excess).mean(axis=1)
    log_likelihood = n * (np.log(-theta / shapes) - shapes - 1)
    weights = np.exp(log_likelihood - log_likelihood.max())
    best = float(np.sum(theta * weights) / np.sum(weights))
    shape = float(np.log1p(-best * excess).mean())
    return (n * shape + PRIOR_WEIGHT * PRIOR_SHAPE) / (n + PRIOR_WEIGHT)
