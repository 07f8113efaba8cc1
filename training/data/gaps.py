"""Removes labels or entries at random, to measure the loss of accuracy when they are missing.

The removed entries are drawn once, from the seed, so they are the same in every epoch.
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
"""Purposes of random generators, part of their seeds."""


def with_gaps(rows: Rows, settings: Data, categories: Sequence[str], seed: int, epoch: int) -> Rows:
    """Applies ``data.paired``, ``data.paired_share`` and ``data.removed`` to the rows of an epoch.

    Arguments:
        rows: Rows of the source, in the same number and order in every epoch.
        settings: The settings of the data.
        categories: Modalities removed from unpaired rows.
        seed: Seed of the experiment.
        epoch: Number of the epoch from 1; 0 outside of training.
    """
    if settings.paired == 1 and settings.removed == 0:
        return rows
    n = len(rows)
    order = np.random.default_rng([seed, UNPAIRED]).permutation(n)
    count = max(1, round(settings.paired * n))
    paired = np.zeros(n, bool)
    paired[order[:count]] = True
    masks = dict(rows.masks)
    taken = np.random.default_rng([seed, MISSING]).random((len(rows.data), n)) < settings.removed
    for gone, name in zip(taken, rows.data, strict=True):
        kept = ~gone & (paired if name in categories else True)
        masks[name] = torch.from_numpy(kept) & masks.get(name, torch.ones(n, dtype=torch.bool))
    lacking = Rows(rows.data, masks)
    if settings.paired_share is None or settings.paired == 1:
        return lacking
    index = _mixed(order[:count], order[count:], settings.paired_share, seed, epoch)
    return lacking.take(torch.from_numpy(index))


def _mixed(paired: Index, unpaired: Index, share: float, seed: int, epoch: int) -> Index:
    """Returns indices of as many rows, of which ``share`` are paired rows, repeated evenly: (n,)."""
    rng = np.random.default_rng([seed, DRAWN, epoch])
    n = len(paired) + len(unpaired)
    count = max(len(paired), round(share * n))
    repeats = -(-count // len(paired))
    often = np.concatenate([rng.permutation(paired) for _ in range(repeats)])[:count]
    return np.concatenate([often, rng.permutation(unpaired)[: n - count]])
