"""Averages of importance weights, and how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models_store.arrays import Array
from models_store.evidence.pareto import FEWEST, shape_of_tail
from models_store.fusion import Array as ArrayOrTensor

LARGEST_SHAPE = 0.7
"""Largest reliable shape of the tail of weights; less for fewer than 2,154 draws."""
FEWEST_JUDGED = 5 * FEWEST
"""Least number of draws whose tail can be judged."""
LEAST_SIZE = 100
"""Least reliable effective sample size; a tenth of the draws where they are fewer than 1,000."""


@dataclass(frozen=True)
class Evidence:
    """An estimated log-likelihood per row; arrays, or tensors in the Python API of training.

    Arguments:
        log_prob: The estimate, in nats, with shape (*).
        std_error: Its standard error, by the delta method, in nats; NaN where it is not reliable, since it is
            too small there.
        ess: The effective sample size, between 1 and K: how many of the draws carry the estimate; 0 if none.
        k_hat: Shape of the tail of the weights; NaN where they have no tail to judge.
        reliable: Whether ``k_hat`` and ``ess`` say that the estimate lies within its error.
    """

    log_prob: ArrayOrTensor
    std_error: ArrayOrTensor
    ess: ArrayOrTensor
    k_hat: ArrayOrTensor
    reliable: ArrayOrTensor


class RowEvidence(NamedTuple):
    """:class:`Evidence` of one row."""

    log_prob: float
    std_error: float
    ess: float
    k_hat: float
    reliable: bool


def evidence(log_weights: Array, counts: Sequence[int] = ()) -> Evidence:
    r"""Averages importance weights that are given as logarithms.

    Arguments:
        log_weights: :math:`\log w_k`, with shape (K, *), source by source; averaged over K.
        counts: Number of draws from each source; default: all from one.

    Example:
        The average of the weights 1, 1, 1 and 5 is 2; their effective sample size 8² / 28.

        >>> import numpy as np
        >>> estimate = evidence(np.log([1.0, 1.0, 1.0, 5.0]))
        >>> np.exp(estimate.log_prob).round(6).item(), estimate.ess.round(4).item()
        (2.0, 2.2857)
    """
    flat = log_weights.reshape(len(log_weights), -1)
    return stacked([estimate(column, counts) for column in flat.T], log_weights.shape[1:])


def stacked(rows: Sequence[RowEvidence], shape: tuple[int, ...] | None = None) -> Evidence:
    """Joins the estimates of rows.

    Arguments:
        rows: One per row.
        shape: Shape of the result; default: (rows,).
    """
    columns = zip(*rows, strict=True) if rows else ([] for _ in RowEvidence._fields)
    dtypes = (float, float, float, float, bool)
    shape = (len(rows),) if shape is None else shape
    return Evidence(*(np.array(list(c), t).reshape(shape) for c, t in zip(columns, dtypes, strict=True)))


def estimate(log_weights: Array, counts: Sequence[int] = ()) -> RowEvidence:
    """:func:`evidence` of one row, from weights (K,)."""
    draws = len(log_weights)
    largest = float(np.max(log_weights))
    if math.isnan(largest) or largest == math.inf:
        return RowEvidence(math.nan, math.nan, math.nan, math.nan, False)
    if largest == -math.inf:  # no draw explains the row
        return RowEvidence(-math.inf, math.nan, 0.0, math.nan, False)
    weights = np.exp(np.asarray(log_weights, np.float64) - largest)
    total = float(weights.sum())
    size = total**2 / float((weights**2).sum())
    k_hat = shape_of_tail(log_weights)
    alike = bool(weights.min() > 1 - 1e-9) and draws > 1
    judged = k_hat <= largest_shape(draws) or (math.isnan(k_hat) and draws >= FEWEST_JUDGED)
    reliable = alike or (judged and size >= least_size(draws))
    error = _spread(weights / total, counts or [draws]) if reliable else math.nan
    return RowEvidence(largest + math.log(total / draws), error, size, k_hat, reliable)


def joined(parts: Sequence[Evidence]) -> Evidence:
    """Joins the estimates of consecutive rows."""
    if not parts:
        return stacked([])
    fields = Evidence.__dataclass_fields__
    return Evidence(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def mixed(parts: Sequence[Evidence], weights: Sequence[float]) -> Evidence:
    r"""The estimate of a mixture from those of its components, for the same rows.

    .. math:: \log p = \log \sum_k w_k p_k, \quad s_k = \frac{w_k p_k}{\sum_j w_j p_j}, \quad
              SE^2 = \sum_k s_k^2 SE_k^2, \quad ESS^{-1} = \sum_k s_k^2 / ESS_k

    It is reliable where each component is, since one that finds nothing may have missed a mode.
    """
    log_probs, errors, sizes, shapes, reliable = (
        np.stack([getattr(part, field) for part in parts]) for field in RowEvidence._fields
    )
    log_probs = log_probs + np.log(weights)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.logaddexp.reduce(log_probs, axis=0)
        shares = np.where(np.isfinite(total), np.exp(log_probs - total), np.nan)
        size = 1 / np.sum(np.where(shares == 0, 0.0, shares**2 / sizes), axis=0)
        error = np.sqrt(np.sum((shares * errors) ** 2, axis=0))
    return Evidence(
        total,
        np.where(reliable.all(axis=0), error, np.nan),
        np.nan_to_num(size),
        np.fmax.reduce(shapes, axis=0),
        reliable.all(axis=0),
    )


def largest_shape(draws: int) -> float:
    """Largest reliable shape of the tail of so many weights: min(1 - 1 / log10 K, 0.7)."""
    return min(1 - 1 / math.log10(draws), LARGEST_SHAPE) if draws > 1 else -math.inf


def least_size(draws: int) -> float:
    """Least reliable effective sample size of so many draws."""
    return min(LEAST_SIZE, draws / 10)


def _spread(shares: Array, counts: Sequence[int]) -> float:
    """Standard error of a sum over draws, of which each source gave its own number: the delta method."""
    variance, start = 0.0, 0
    for count in filter(None, counts):
        of_source = shares[start : start + count]
        scale = count / (count - 1) if count > 1 else math.nan
        variance += scale * float(((of_source - of_source.mean()) ** 2).sum())
        start += count
    return math.sqrt(variance)
