"""Predictive distributions of held-out rows, as ``/generate`` answers them: means, intervals, corrections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from models_store.arrays import Array
from models_store.calibration import COVERAGES, Intervals, corrected, own_intervals
from models_store.likelihoods import Parameters
from models_store.manifest import Modality
from models_store.quantiles import quantiles
from training.data.rows import Rows
from training.evaluation.evaluated import CHUNK, EvaluatedModel

DRAWS = 100
"""Draws of z for each predictive distribution, as in the service."""


class Predicted(NamedTuple):
    """The predictive distribution of a target for n rows.

    Arguments:
        mean: Mean, (n, *shape).
        std: Standard deviation, same shape.
        draw: Function that draws x, (n, DRAWS, *shape).
    """

    mean: Array
    std: Array
    draw: Callable[[], Array]


def predicted(
    evaluated: EvaluatedModel, target: Modality, given: Sequence[str], rows: Rows
) -> Iterator[Predicted]:
    """Yields the predictive distributions of consecutive rows, a portion at a time."""
    posterior = evaluated.posterior(rows, given)
    rng, family = evaluated.rng(), target.distribution
    step = max(1, CHUNK // DRAWS)
    for start in range(0, len(rows), step):
        some = posterior.of(slice(start, start + step))
        z = some.sample(rng.standard_normal((len(some), DRAWS, some.mu.shape[-1]), np.float32))
        wide = evaluated.predicted(target.name, given, rows.take(slice(start, start + step)), z)
        means = family.mean(wide)
        spread = family.variance(wide).mean(axis=1) + means.var(axis=1)

        def draw(wide: Parameters = wide) -> Array:
            return family.sample(wide, rng)

        yield Predicted(means.mean(axis=1), np.sqrt(spread), draw)


def model_intervals(
    evaluated: EvaluatedModel, target: Modality, given: Sequence[str], rows: Rows
) -> Intervals:
    """The model's own intervals, which corrections start from: see :func:`own_intervals`."""
    parts = [
        own_intervals(target, part.mean, part.std, part.draw)
        for part in predicted(evaluated, target, given, rows)
    ]
    return Intervals(*(np.concatenate(sides) for sides in zip(*parts, strict=True)))


def answered(
    evaluated: EvaluatedModel, target: Modality, given: Sequence[str], rows: Rows
) -> tuple[Array, Array, Array]:
    """Means, (n, *shape), and lower and upper ends of the intervals of :data:`COVERAGES` that are answered.

    The ends, (n, coverages, *shape), are corrected where the model has a calibration.
    """
    correction = evaluated.calibration.of(target.name, given) if evaluated.calibration else None
    means, ends = [], []
    for part in predicted(evaluated, target, given, rows):
        means.append(part.mean)
        if correction is not None and correction.widths is not None:
            intervals = own_intervals(target, part.mean, part.std, part.draw)
            ends.append(corrected(target, intervals, correction.widths[None]))
        else:
            tails = [(1 - coverage) / 2 for coverage in COVERAGES]
            levels = quantiles(part.draw(), [*tails, *(1 - tail for tail in tails)], axis=1)
            ends.append((levels[:, : len(tails)], levels[:, len(tails) :]))
    low, high = (np.concatenate(side) for side in zip(*ends, strict=True))
    return np.concatenate(means), low, high
