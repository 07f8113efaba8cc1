"""A factor analysis, and rows of it."""

from __future__ import annotations

import numpy as np

from tests.models_store.examples import NumpyArray
from training.factors import FactorModel

VIEWS, COLUMNS, FACTORS = 3, 4, 2


def known_factors(seed: int = 1) -> FactorModel:
    rng = np.random.default_rng(seed)
    p = VIEWS * COLUMNS
    return FactorModel(np.zeros(p), rng.standard_normal((p, FACTORS)), rng.uniform(0.3, 1.0, p))


def drawn(factors: FactorModel, n: int, seed: int = 2) -> tuple[NumpyArray, NumpyArray]:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, factors.loadings.shape[1]))
    noise = rng.standard_normal((n, len(factors.mean)))
    return z @ factors.loadings.T + noise * np.sqrt(factors.variance), z
