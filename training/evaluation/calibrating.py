"""Learns the corrections of intervals and label probabilities from held-out rows, for ``calibration.npz``.

The rows are a share of the test rows that the card does not use.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from models_store.arrays import Array
from models_store.calibration import (
    Calibration,
    Correction,
    Typical,
    learned_temperature,
    learned_typical,
    learned_widths,
)
from models_store.manifest import Modality
from training.data.rows import Rows
from training.evaluation.answers import CELLS, label_probabilities
from training.evaluation.evaluated import PAIRS, EvaluatedModel, having_all
from training.evaluation.predicting import DRAWS, model_intervals

FEWEST_ROWS = 60
"""Least number of test rows of which a share may calibrate."""


def split(rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Splits test rows at random into those that calibrate and those that measure.

    Arguments:
        rows: Test rows.
        share: Share that calibrates; none of fewer than ``FEWEST_ROWS`` rows do.
        seed: Seed of the split.
    """
    count = int(len(rows) * share) if len(rows) >= FEWEST_ROWS else 0
    order = torch.from_numpy(np.random.default_rng([seed, 1]).permutation(len(rows)))
    return rows.take(order[:count].sort().values), rows.take(order[count:].sort().values)


def stored_sets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yields the sets of given modalities that have their own corrections: singles, pairs, and the whole."""
    sizes = ({1, 2, len(names)} if len(names) <= PAIRS else {1, len(names)}) - {0}
    for size in sorted(sizes):
        yield from combinations(names, size)


def calibrate(evaluated: EvaluatedModel, rows: Rows) -> Calibration:
    """Learns the corrections of every target given singles, pairs and all others.

    Arguments:
        evaluated: The model.
        rows: Rows that neither trained nor measure it.
    """
    evaluated = replace(evaluated, calibration=None)
    corrections: dict[str, dict[frozenset[str], Correction]] = {}
    for target in evaluated.manifest.modalities:
        others = [name for name in evaluated.manifest.names if name != target.name]
        for given in stored_sets(others):
            some = having_all(rows, [target.name, *given]).head(evaluated.settings.rows)
            correction = _learned(evaluated, target, given, some) if len(some) else None
            if correction is not None:
                corrections.setdefault(target.name, {})[frozenset(given)] = correction
    return Calibration(corrections, _typical(evaluated, rows))


def _typical(evaluated: EvaluatedModel, rows: Rows) -> dict[str, Typical]:
    """How well rows of each modality but categories are reconstructed from themselves."""
    typical = {}
    for modality in evaluated.manifest.modalities:
        some = having_all(rows, [modality.name]).head(evaluated.settings.rows)
        if modality.labels is not None or not len(some):
            continue
        entry = learned_typical(own_log_probs(evaluated, modality.name, some))
        if entry is not None:
            typical[modality.name] = entry
    return typical


def own_log_probs(evaluated: EvaluatedModel, name: str, rows: Rows) -> Array:
    """Log-likelihood of each row of a modality at the mean of its own posterior, in nats: (n,)."""
    decoded = evaluated.graphs.decode(name, evaluated.posterior(rows, [name]).mu)
    log_probs: Array = evaluated.manifest.modality(name).distribution.row_log_prob(
        rows.data[name].numpy(), decoded
    )
    return log_probs


def _learned(
    evaluated: EvaluatedModel, target: Modality, given: Sequence[str], rows: Rows
) -> Correction | None:
    if target.labels is not None:
        probabilities = label_probabilities(evaluated, target.name, given, rows)
        temperature = learned_temperature(probabilities, rows.data[target.name].numpy())
        return Correction(len(rows), temperature=temperature or 1.0)
    rows = rows.head(max(2, CELLS // (DRAWS * math.prod(target.shape))))
    x = rows.data[target.name].numpy().astype(np.float64)
    widths = learned_widths(target, model_intervals(evaluated, target, given, rows), x)
    return None if widths is None else Correction(len(rows), widths)
