"""Elementwise functions of arrays and tensors that likelihoods are made of, stable in single precision."""

from __future__ import annotations

import numpy as np
from array_api_compat import is_torch_array

from models_store.fusion import Array, array_namespace


def is_cheap_to_read(x: Array) -> bool:
    """Whether reading a value of x costs little: a GPU synchronises, a compiled graph breaks."""
    if not is_torch_array(x):
        return True
    torch = array_namespace(x)
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def as_float(x: Array, like: Array) -> Array:
    return array_namespace(like).astype(x, like.dtype)


def log_gamma(x: Array) -> Array:
    if is_torch_array(x):
        return array_namespace(x).lgamma(x)
    from scipy.special import gammaln  # takes a quarter of the service's start, and few requests need it

    return gammaln(x)


def log_rising(count: Array, total: Array, log_total: Array) -> Array:
    r"""The logarithm of :math:`\Gamma(x + r) / \Gamma(r)`.

    For large r as the difference of Stirling's series (Abramowitz & Stegun, 6.1.41), in which the large
    terms cancel on paper instead of in single precision.
    """
    xp = array_namespace(count)
    large = total > 20
    r = xp.where(large, total, 20.0)
    series = (count + r - 0.5) * xp.log1p(count / r) - count + (1 / (count + r) - 1 / r) / 12
    small = xp.where(large, 20.0, total)
    exact = log_gamma(count + small) - log_gamma(small)
    return xp.where(large, series + count * log_total, exact)


def draw_counts(rate: Array, rng: np.random.Generator) -> Array:
    """Poisson draws; from 1e15 on, which numpy does not take, a draw is its rate to within rounding."""
    usual = rate < 1e15
    return np.where(usual, rng.poisson(np.where(usual, rate, 0.0)), rate)


def softplus(x: Array) -> Array:
    xp = array_namespace(x)
    if is_torch_array(x):
        # log(1 + e^x) in one pass each way, which logaddexp takes several for
        return xp.nn.functional.softplus(x)
    # an eighth of the time of logaddexp, which computes in a scalar loop
    return xp.maximum(x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))


def odds_against(logits: Array) -> Array:
    # float32 knows no power above e^88
    if is_torch_array(logits):
        xp = array_namespace(logits)
        return xp.exp(-xp.clip(logits, min=-88))
    return np.exp(np.minimum(np.negative(logits), 88))  # np.clip takes far longer


def sigmoid(logits: Array) -> Array:
    return 1 / (1 + odds_against(logits))
