r"""Log-likelihoods by importance sampling, with their error.

For draws :math:`z_k \sim q`, the weights :math:`w_k = p(x, z_k) / q(z_k)` average to :math:`p(x)`.

References:
    | Importance Weighted Autoencoders (Burda, Grosse & Salakhutdinov, 2016)
    | https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from array_api_compat import array_namespace

from models_store.fusion import Array, Gaussian, standard_normal


@dataclass(frozen=True)
class Evidence:
    """An estimated log-likelihood per row.

    Arguments:
        log_prob: The estimate, in nats, with shape (*).
        std_error: Its standard error, by the delta method, in nats.
        ess: The effective sample size, between 1 and K: how many of the draws carry the estimate.
    """

    log_prob: Array
    std_error: Array
    ess: Array


def log_weights(z: Array, posterior: Gaussian, log_likelihoods: Iterable[tuple[Array, Array]]) -> Array:
    r"""The logarithm of :math:`w_k = p(z_k) \prod_{m \in A} p(x_m \mid z_k) / q(z_k \mid x_A)`, in nats.

    Arguments:
        z: Draws from the posterior, with shape (K, *, D).
        posterior: :math:`q(z | x_A)`, with shape (*, D).
        log_likelihoods: Per modality :math:`\log p(x_m | z_k)`, with shape (K, *), and whether it is
            observed, with shape (*); a missing one counts nothing, whatever its value.
    """
    xp = array_namespace(z)
    log_weight = standard_normal(posterior.mu).log_prob(z) - posterior.log_prob(z)
    for log_likelihood, present in log_likelihoods:
        log_weight = log_weight + xp.where(present, log_likelihood, 0.0)
    return log_weight


def evidence(log_weights: Array) -> Evidence:
    r"""Averages importance weights that are given as logarithms.

    Arguments:
        log_weights: :math:`\log w_k`, with shape (K, *); the average is over the first axis.
    """
    xp = array_namespace(log_weights)
    n = log_weights.shape[0]
    largest = xp.max(log_weights, axis=0)
    possible = largest > -math.inf  # else no draw explains the row at all
    largest = xp.where(possible, largest, 0.0)
    weights = xp.where(possible, xp.exp(log_weights - largest), 1.0)
    total, squares = xp.sum(weights, axis=0), xp.sum(weights**2, axis=0)
    ess = total**2 / squares
    # Var(mean of w) / mean^2 = (1/ess - 1/n) * n / (n - 1); below 0 only by rounding
    spread = xp.sqrt(xp.clip((1 / ess - 1 / n) * n / max(n - 1, 1), min=0.0))
    log_prob = xp.where(possible, largest + xp.log(total) - math.log(n), -math.inf)
    return Evidence(log_prob=log_prob, std_error=spread, ess=ess)


def difference(whole: Evidence, part: Evidence) -> Evidence:
    r"""The conditional :math:`\log p(x_T \mid x_S) = \log p(x_T, x_S) - \log p(x_S)`, independently.

    Its effective sample size is that of the weaker of the two.
    """
    xp = array_namespace(whole.log_prob)
    return Evidence(
        log_prob=whole.log_prob - part.log_prob,
        std_error=xp.sqrt(whole.std_error**2 + part.std_error**2),
        ess=xp.where(whole.ess < part.ess, whole.ess, part.ess),
    )
