"""Quantiles of draws, by the one rule that the service and the evaluation use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models_store.arrays import Array


def quantiles(draws: Array, levels: Sequence[float], axis: int) -> Array:
    """Estimates quantiles by Weibull's rule.

    Of K draws, a share p of future ones lies below the quantile p on average. ``numpy.quantile`` with
    ``method="weibull"`` gives the same numbers in five times as long.

    Arguments:
        draws: Draws, with K of them along ``axis``.
        levels: Levels between 0 and 1.
        axis: Axis of the draws.

    Returns:
        Quantiles, with the levels along ``axis``; at least float32.
    """
    ordered = np.moveaxis(draws, axis, -1).copy(order="C")
    ordered.sort(axis=-1)
    last = ordered.shape[-1] - 1
    places = np.clip(np.array(levels) * (last + 2) - 1, 0, last)
    below = places.astype(int)
    share = (places - below).astype(np.result_type(ordered, np.float32))
    low, high = ordered[..., below], ordered[..., np.minimum(below + 1, last)]
    return np.moveaxis(low + (high - low) * share, -1, axis)
