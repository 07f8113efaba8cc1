"""Gaps made on purpose: to measure what a model loses when labels are rare, or entries are missing.

Which entries are taken away is drawn once, from the seed: a row that lacks something lacks it in every
epoch, and nothing is seen that was taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from training.config import Data
from training.data.rows import Rows

Index = np.ndarray[Any, np.dtype[np.int64]]

UNPAIRED, MISSING, DRAWN = 11, 12, 13
"""Which draw a generator is for."""


def with_gaps(rows: Rows, settings: Data, categories: Sequence[str], seed: int, epoch: int) -> Rows:
    """The rows of an epoch, as ``data.paired``, ``data.paired_share`` and ``data.missing`` want them.

    Arguments:
        rows: As the source gives them, always as many and, but for what is paired anew, in the same order.
        settings: The settings.
        categories: What an unpaired row lacks.
        seed: Of the experiment.
        epoch: From 1; 0 for the rows outside of any.
    """
    if settings.paired == 1 and settings.missing == 0:
        return rows
    n = len(rows)
    order = np.random.default_rng([seed, UNPAIRED]).permutation(n)
    count = max(1, round(settings.paired * n))
    paired = np.zeros(n, bool)
    paired[order[:count]] = True
    masks = dict(rows.masks)
    taken = np.random.default_rng([seed, MISSING]).random((len(rows.data), n)) < settings.missing
    for gone, name in zip(taken, rows.data, strict=True):
        kept = ~gone & (paired if name in categories else True)
        masks[name] = torch.from_numpy(kept) & masks.get(name, torch.ones(n, dtype=torch.bool))
    lacking = Rows(rows.data, masks)
    if settings.paired_share is None or settings.paired == 1:
        return lacking
    index = _mixed(order[:count], order[count:], settings.paired_share, seed, epoch)
    return lacking.take(torch.from_numpy(index))


def _mixed(paired: Index, unpaired: Index, share: float, seed: int, epoch: int) -> Index:
    """As many rows as there are, of which ``share`` are paired, each of them as often as any other."""
    rng = np.random.default_rng([seed, DRAWN, epoch])
    n = len(paired) + len(unpaired)
    settings = max(len(paired), round(share * n))
    repeats = -(-settings // len(paired))
    often = np.concatenate([rng.permutation(paired) for _ in range(repeats)])[:settings]
    return np.concatenate([often, rng.permutation(unpaired)[: n - settings]])
