"""Family of counts, chosen by the likelihood of held-out rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.optimize import minimize

from models_store.arrays import Array
from models_store.likelihoods import FAMILIES, Parameters

FEWEST_COUNTS = 50
"""Counts of a column from which on a family can be chosen."""
MOST_COLUMNS = 20
"""Columns of one view by which its family is chosen."""
ERRORS = 2.0
"""Standard errors by which further zeros must raise the likelihood of held-out rows."""

USUAL, SIMPLER, INFLATED = "negative_binomial", "poisson", "zero_inflated"
FITTED: Mapping[str, Sequence[float]] = {SIMPLER: (), USUAL: (0.0,), INFLATED: (0.0, 0.0)}
"""By family, where the search for the parameters after the mean begins; the mean is that of the counts."""


def count_likelihood(columns: Sequence[Array]) -> str:
    """Name of the family of the counts of a view, or of one column of a table.

    Each column is described without the others, by two halves of its sample: a family is fitted to one by
    maximum likelihood, and compared on the other. A negative binomial is the usual one; Poisson takes its
    place where it is as likely, and the zero-inflated where it is clearly more likely.

    Arguments:
        columns: Counts of the first rows of each column, (n,), NaN where missing.
    """
    places = np.linspace(0, len(columns) - 1, min(len(columns), MOST_COLUMNS)).astype(int)
    samples = [columns[at][np.isfinite(columns[at])] for at in places]
    samples = [sample for sample in samples if len(sample) >= FEWEST_COUNTS and sample.any()]
    if not samples:
        return USUAL
    held_out = {name: np.concatenate([_held_out(name, sample) for sample in samples]) for name in FITTED}
    gain = held_out[INFLATED] - held_out[USUAL]
    if gain.mean() > ERRORS * gain.std() / np.sqrt(len(gain)):
        return INFLATED
    return SIMPLER if held_out[SIMPLER].mean() >= held_out[USUAL].mean() else USUAL


def _held_out(name: str, sample: Array) -> Array:
    """Log-probability of each count under the family fitted to the other half of the sample."""
    halves = sample[::2], sample[1::2]
    return np.concatenate(
        [_log_probs(name, one, _fitted(name, other)) for one, other in (halves, halves[::-1])]
    )


def _log_probs(name: str, counts: Array, values: Iterable[float]) -> Array:
    """Log-probability of each count: (n,)."""
    family = FAMILIES[name]()
    parameters: Parameters = {
        key: np.array([value]) for key, value in zip(family.parameters, values, strict=True)
    }
    return family.log_prob(counts, parameters)


def _fitted(name: str, counts: Array) -> Array:
    """Parameters of the highest likelihood, in the order of ``parameters``."""
    different, times = np.unique(counts, return_counts=True)
    mean = np.log(max(counts.mean(), 1 / len(counts)))

    def loss(further: Array) -> float:
        return -float(times @ _log_probs(name, different, [mean, *further]))

    further = minimize(loss, FITTED[name], method="Nelder-Mead").x if FITTED[name] else []
    return np.array([mean, *further])
