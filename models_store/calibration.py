r"""Corrections of a model's intervals and label probabilities, in ``calibration.npz``.

They were learned from held-out rows that neither trained nor measure the model, per target and set of given
modalities. With the model's own interval :math:`[c - b, c + a]` of some coverage around a centre c, the
corrected one is

.. math:: [c - f b, \; c + f a], \quad f = \text{quantile of } E_i = \max \left(
    \frac{c_i - x_i}{b_i}, \frac{x_i - c_i}{a_i} \right) \text{ at } (1 + 1 / n) \cdot \text{coverage}

over n rows: a split-conformal interval (Romano, Patterson & Candès 2019, arXiv:1905.03222; scaled as in
Papadopoulos et al. 2011). Vectors and counts have a factor per column, other kinds one for all cells. A label
has a temperature (Guo et al. 2017, arXiv:1706.04599), :math:`p_c^{1/T} / \sum_k p_k^{1/T}`, where that lowers
the log-loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from models_store import archives
from models_store.arrays import Array
from models_store.errors import BundleRefused
from models_store.manifest import Manifest, Modality
from models_store.quantiles import quantiles

FILE = "calibration.npz"
NORMAL = NormalDist()
COVERAGES = (0.5, 0.8, 0.9)
"""Coverages of the corrected central intervals."""
FEWEST = 20
"""Least number of rows, or of observed cells of a column, for a correction."""
LEAST_GAIN, FEWEST_WRONG = 0.005, 5
"""Least gain of log-loss by a temperature, in nats, and least number of rows whose best label is wrong."""
WIDTHS, TEMPERATURE, ROWS, TYPICAL = "widths", "temperature", "rows", "typical"
LOW, LEAST_WEIGHT = 0.02, 1e-12
"""Share of held-out rows whose reconstruction is taken for atypical, and least weight of an expert."""


class Typical(NamedTuple):
    """Log-likelihoods of the own reconstruction of held-out rows: log p(x_m | z) at the mean of q(z | x_m).

    Arguments:
        low: Their 2 % quantile.
        median: Their median.
    """

    low: float
    median: float

    def score(self, log_probs: Array) -> Array:
        """0 for a typical row, below 0 for one that is reconstructed worse than 98 % of held-out rows."""
        scale = max((self.median - self.low) / 4, 1e-3)
        scores: Array = np.minimum((np.nan_to_num(log_probs, nan=self.median) - self.low) / scale, 0.0)
        return scores


def learned_typical(log_probs: Array) -> Typical | None:
    """What is typical of these held-out rows, (n,); None where they are too few."""
    if len(log_probs) < 1 / LOW:
        return None
    low, median = np.quantile(log_probs, [LOW, 0.5])
    return Typical(float(low), float(median)) if np.isfinite(low) else None


def expert_weights(scores: Array, present: Array) -> Array:
    """Powers of the experts of a row, (M, n): 1 for the best of those present, less for worse scores.

    Arguments:
        scores: Scores of the views, (M, n); 0 for typical ones.
        present: Mask of the views that a row has, (M, n).
    """
    best = np.max(np.where(present, scores, -np.inf), axis=0)
    relative = np.where(present, scores - np.where(np.isfinite(best), best, 0.0), 0.0)
    weights: Array = np.maximum(np.exp(relative), LEAST_WEIGHT)
    return weights


@dataclass(frozen=True)
class Correction:
    """The correction of one target given one set of modalities.

    Arguments:
        rows: Number of rows that it was learned from.
        widths: Factors of interval widths, (coverages, columns), or (coverages, 1) for all cells; None for a
            category.
        temperature: Temperature of label probabilities; None for other kinds.
    """

    rows: int
    widths: Array | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Calibration:
    """Corrections, and what is typical of views.

    Arguments:
        corrections: By target and set of given modalities.
        typical: By modality; none of categories.
    """

    corrections: Mapping[str, Mapping[frozenset[str], Correction]]
    typical: Mapping[str, Typical] = field(default_factory=dict)

    def of(self, target: str, given: Collection[str]) -> Correction | None:
        """The correction of the nearest stored set: with the fewest modalities that only one set has.

        None for a target without corrections, for the prior, and for a target that is itself given: held-out
        rows have shown nothing of these.
        """
        stored = self.corrections.get(target)
        if not stored or not given or target in given:
            return None
        names = frozenset(given)
        return stored[min(stored, key=lambda one: (len(one ^ names), sorted(one)))]

    def to_bytes(self) -> bytes:
        arrays = {f"{TYPICAL}/{name}": np.array(entry) for name, entry in self.typical.items()}
        for target, stored in self.corrections.items():
            for given, correction in stored.items():
                key = f"{target}|{','.join(sorted(given))}"
                arrays[f"{ROWS}/{key}"] = np.array(correction.rows)
                if correction.widths is not None:
                    arrays[f"{WIDTHS}/{key}"] = correction.widths.astype(np.float32)
                if correction.temperature is not None:
                    arrays[f"{TEMPERATURE}/{key}"] = np.array(correction.temperature, np.float32)
        return archives.to_bytes(arrays)

    @classmethod
    def from_bytes(cls, content: bytes, manifest: Manifest) -> Calibration:
        """Reads and checks the file of a bundle.

        Raises:
            BundleRefused: It is no archive of arrays, or does not fit the model; the text names the entry.
        """
        arrays = archives.from_bytes(content, FILE)
        corrections: dict[str, dict[frozenset[str], Correction]] = {}
        for key, rows in arrays.items():
            if not key.startswith(f"{ROWS}/"):
                continue
            question = key.removeprefix(f"{ROWS}/")
            target, _, given = question.partition("|")
            names = frozenset(given.split(","))
            if not {target, *names} <= set(manifest.names) or rows.shape or rows.dtype.kind not in "iu":
                raise BundleRefused(
                    f"{FILE}: '{key}' must name modalities of the model, and hold one whole number"
                )
            widths = arrays.get(f"{WIDTHS}/{question}")
            temperature = arrays.get(f"{TEMPERATURE}/{question}")
            _check(manifest.modality(target), question, widths, temperature)
            corrections.setdefault(target, {})[names] = Correction(
                int(rows), widths, None if temperature is None else float(temperature)
            )
        return cls(corrections, _typical(arrays, manifest))


def _typical(arrays: Mapping[str, Array], manifest: Manifest) -> dict[str, Typical]:
    typical = {}
    for key, values in arrays.items():
        if key.startswith(f"{TYPICAL}/"):
            name = key.removeprefix(f"{TYPICAL}/")
            if name not in manifest.names or values.shape != (2,) or not np.isfinite(values).all():
                raise BundleRefused(f"{FILE}: '{key}' must hold two finite numbers for one modality")
            typical[name] = Typical(*map(float, values))
    return typical


def _check(modality: Modality, question: str, widths: Array | None, temperature: Array | None) -> None:
    for name, array in ((WIDTHS, widths), (TEMPERATURE, temperature)):
        if array is not None and not (np.isfinite(array).all() and (array > 0).all()):
            raise BundleRefused(f"{FILE}: '{name}/{question}' must hold finite numbers above 0")
    if widths is not None and widths.shape != (len(COVERAGES), factors_of(modality)):
        expected = (len(COVERAGES), factors_of(modality))
        raise BundleRefused(f"{FILE}: '{WIDTHS}/{question}' has the shape {widths.shape}, not {expected}")
    if temperature is not None and temperature.shape:
        raise BundleRefused(f"{FILE}: '{TEMPERATURE}/{question}' must be one number")
    if (temperature is not None) != (modality.labels is not None and widths is None):
        raise BundleRefused(f"{FILE}: '{question}' needs widths, or for a category a temperature")


def factors_of(modality: Modality) -> int:
    """Number of factors per coverage: one per column of a vector or counts, else one for all cells."""
    return math.prod(modality.shape) if "columns" in modality.traits.fields else 1


class Intervals(NamedTuple):
    """A model's own central intervals of n rows.

    Arguments:
        centre: Their centres, (n, *shape).
        below: Distances from the centre to the lower ends, (n, coverages, *shape).
        above: Those to the upper ends, same shape.
    """

    centre: Array
    below: Array
    above: Array


def own_intervals(
    modality: Modality,
    mean: Array,
    std: Array,
    draw: Callable[[], Array],
    coverages: Sequence[float] = COVERAGES,
) -> Intervals:
    """The intervals to be corrected.

    They lie around the median, between quantiles of draws. Where draws fall on few values, as counts and the
    black or white draws of grey pixels do, they are those of a normal distribution around the mean.

    Arguments:
        modality: The target.
        mean: Mean of the predictive distribution, (n, *shape).
        std: Its standard deviation, same shape.
        draw: Function that draws x, (n, K, *shape).
        coverages: Shares of future values within the intervals.
    """
    atoms = has_atoms(modality)
    reach = np.stack([std * NORMAL.inv_cdf((1 + coverage) / 2) for coverage in coverages], axis=1)
    around_mean = Intervals(mean, reach, reach)
    if atoms.all():
        return around_mean
    tails = [(1 - coverage) / 2 for coverage in coverages]
    ends = quantiles(draw(), [0.5, *tails, *(1 - tail for tail in tails)], axis=1)
    low, high = ends[:, 1 : 1 + len(tails)], ends[:, 1 + len(tails) :]
    drawn = Intervals(ends[:, 0], ends[:, :1] - low, high - ends[:, :1])
    if not atoms.any():
        return drawn
    return Intervals(*(np.where(atoms, *sides) for sides in zip(around_mean, drawn, strict=True)))


def has_atoms(modality: Modality) -> Array:
    """Whether draws of x fall on few values: one bool, or one for each column of a table, (C,).

    Labels of a table are among these: their mean and deviation are NaN, and so are their intervals.
    """
    if modality.parts:
        return np.array([part.labels > 0 or part.family.of_counts for part in modality.parts])
    return np.array(modality.likelihood == "bernoulli" or modality.distribution.of_counts)


def corrected(modality: Modality, stated: Intervals, widths: Array) -> tuple[Array, Array]:
    """Lower and upper ends of corrected intervals, (n, coverages, *shape) each; wider for a higher coverage.

    Arguments:
        modality: The target.
        stated: The model's intervals.
        widths: Factors of the same coverages, (n, coverages, factors).
    """
    factors = widths.reshape(*widths.shape[:2], *(modality.shape if widths.shape[2] > 1 else _ones(modality)))
    reach = [np.maximum.accumulate(side * factors, axis=1) for side in (stated.below, stated.above)]
    low, high = stated.centre[:, None] - reach[0], stated.centre[:, None] + reach[1]
    least, most = _limits(modality)
    return np.clip(low, least, most), np.clip(high, least, most)


def _limits(modality: Modality) -> tuple[float | Array, float]:
    """Lowest and highest value of x; the lowest of each column of a table, (C,)."""
    if modality.likelihood == "bernoulli":
        return modality.range or (0.0, 1.0)
    families = [part.family for part in modality.parts] or [modality.distribution]
    least = [0.0 if family.of_counts or family.above_zero else -math.inf for family in families]
    return np.array(least, np.float32) if modality.parts else least[0], math.inf


def _ones(modality: Modality) -> tuple[int, ...]:
    return (1,) * len(modality.shape)


def learned_widths(modality: Modality, stated: Intervals, x: Array) -> Array | None:
    """The factors of :data:`COVERAGES` from held-out values; None where there are too few.

    Arguments:
        modality: The target.
        stated: The model's intervals of the same rows.
        x: Values, (n, *shape); NaN is missing.
    """
    n = len(x)
    if n < FEWEST:
        return None
    deviation = (x - stated.centre)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(deviation < 0, -deviation / stated.below, deviation / stated.above)
    scores = np.where(deviation == 0, 0.0, scores).reshape(n, len(COVERAGES), -1)  # 0 / 0 is within
    shared = np.array([_conformal(scores[:, level], coverage, n) for level, coverage in enumerate(COVERAGES)])
    if factors_of(modality) == 1:
        return shared[:, None]
    return np.array(
        [
            [_of_column(column, coverage, shared[level]) for column in scores[:, level].T]
            for level, coverage in enumerate(COVERAGES)
        ]
    )


def _of_column(scores: Array, coverage: float, shared: float) -> float:
    cells = int((~np.isnan(scores)).sum())
    return _conformal(scores, coverage, cells) if cells >= FEWEST else shared


def _conformal(scores: Array, coverage: float, rows: int) -> float:
    """The quantile of observed scores that a future one is below with this probability, from so many rows."""
    observed = np.sort(scores[~np.isnan(scores)])
    finite = observed[np.isfinite(observed)]
    if not len(finite):
        return 1.0
    place = math.ceil(len(observed) * min(1.0, coverage * (1 + 1 / rows))) - 1
    return max(float(finite[min(place, len(finite) - 1)]), 1e-6)


def tempered(probabilities: Array, temperature: Array | float) -> Array:
    """Probabilities to the power of 1 / T, normalised: (n, labels).

    Arguments:
        probabilities: (n, labels).
        temperature: T, of all rows or by row, (n, 1).
    """
    logits = np.log(np.maximum(probabilities, 1e-30)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normalised: Array = powers / powers.sum(axis=-1, keepdims=True)
    return normalised


def learned_temperature(probabilities: Array, right: Array) -> float | None:
    """The temperature with the least log-loss; None where it hardly helps on rows that did not choose it.

    Each half of the rows is predicted with the temperature of the other half. Their log-loss must fall by
    ``LEAST_GAIN``, and by more than its standard error. Rows that are all right say nothing of errors.

    Arguments:
        probabilities: (n, labels).
        right: Indices of the true labels, (n,).
    """
    if len(right) < 2 * FEWEST:
        return None
    halves = [np.arange(len(right)) % 2 == half for half in (0, 1)]
    if (probabilities.argmax(axis=1) != right).sum() < FEWEST_WRONG:
        return None
    gains = np.zeros(len(right))
    for fitted, other in (halves, halves[::-1]):
        temperature = _best(probabilities[fitted], right[fitted])
        before, after = (_losses(probabilities[other], right[other], t) for t in (1.0, temperature))
        gains[other] = before - after
    if gains.mean() <= max(LEAST_GAIN, gains.std() / math.sqrt(len(right))):
        return None
    return _best(probabilities, right)


def _losses(probabilities: Array, right: Array, temperature: float) -> Array:
    selected = np.take_along_axis(tempered(probabilities, temperature), right[:, None], axis=1)[:, 0]
    losses: Array = -np.log(np.maximum(selected, 1e-30))
    return losses


def _best(probabilities: Array, right: Array) -> float:
    grid = np.geomspace(0.25, 4.0, 81)
    return float(grid[np.argmin([_losses(probabilities, right, t).mean() for t in grid])])
