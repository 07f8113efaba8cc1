r"""Summaries of the predictive distribution :math:`\int p(x \mid z) \, q(z \mid x_S) \, dz`. Pure numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np

from models_store.arrays import Array
from models_store.calibration import COVERAGES, corrected, own_intervals, tempered
from models_store.likelihoods import Mixed, Parameters
from models_store.manifest import Modality
from models_store.quantiles import quantiles
from service.engine.calibrating import RowCorrections
from service.engine.draws import draw_x


class Summary(TypedDict, total=False):
    """Summaries and samples of one target for n rows; the shape of a row of a category is (labels,)."""

    mean: Array
    """Mean, (n, *shape)."""
    std: Array
    """Standard deviation, (n, *shape)."""
    quantiles: Array
    """Quantiles, (n, levels, *shape)."""
    levels: list[float]
    """Levels of the quantiles."""
    ranked: Array
    """Labels from the most to the least probable, (n, labels)."""
    probabilities: Array
    """Probabilities, (n, labels)."""
    samples: Array
    """Samples, (n, N, *shape)."""
    labelled: dict[str, Summary]
    """Of a table: ``ranked`` and ``probabilities`` of each column with labels, where other fields are NaN."""


LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
CENTRAL = (0.5, 0.9)
"""Coverages of the central intervals between these levels, from the inside."""
SUMMARIES = ("mean", "std", "quantiles", "probabilities")
FIELDS = (*SUMMARIES, "samples")
AVERAGED_AT_ONCE = 5
"""Numbers that are averaged in the time in which one is drawn and sorted."""
CELLS_IN_CACHE = 2**18
"""Numbers summarised at a time: 1 MiB of float32, so that each step finds the numbers in the cache."""


class SummaryOptions(NamedTuple):
    """Summaries and samples requested of every target.

    Arguments:
        fields: Names from ``FIELDS``.
        samples: Number N of samples.
        draws: Number K of draws of z behind the summaries.
        seed: Seed of draws of x.
        noise: Whether samples are draws of x instead of means of p(x | z).
    """

    fields: Collection[str]
    samples: int
    draws: int
    seed: int
    noise: bool = False

    @property
    def needs(self) -> tuple[int, int]:
        """Draws of z behind the summaries, and behind the samples."""
        summarised = any(field in SUMMARIES for field in self.fields)
        return self.draws if summarised else 0, self.samples if "samples" in self.fields else 0

    @property
    def draws_of_z(self) -> int:
        """Enough for both, which share them."""
        return max(*self.needs, 1)


def summaries(
    modality: Modality,
    parameters: Parameters,
    options: SummaryOptions,
    first_row: int,
    correction: RowCorrections | None = None,
) -> Summary:
    """Computes the requested summaries of one target.

    Arguments:
        modality: The target.
        parameters: The decoder's outputs at the draws of z: (n, draws, *shape).
        options: Requested summaries.
        first_row: Index of the first row in the request.
        correction: Corrections of these rows; None for the model's own summaries.
    """
    n, draws = next(iter(parameters.values())).shape[:2]

    def of(rows: slice) -> Summary:
        few = {name: value[rows] for name, value in parameters.items()}
        of_rows = None if correction is None else correction.of(rows)
        # A mean or variance that overflows is infinite, which a response writes as null.
        with np.errstate(over="ignore", invalid="ignore"):
            return _summaries(modality, few, options, first_row + rows.start, of_rows)

    return join([of(rows) for rows in pieces(n, draws, [modality], CELLS_IN_CACHE)])


def only_averages(modality: Modality, options: SummaryOptions, correction: RowCorrections | None) -> bool:
    """Whether the summaries are averages over draws of z, without draws of x or their sorting."""
    if options.noise or correction is not None:
        return False
    sorts = "quantiles" in options.fields and modality.labels is None
    return not sorts or modality.distribution.mixture_quantiles(np.zeros((0, 1)), LEVELS) is not None


def pieces(n: int, draws: int, modalities: Sequence[Modality], most: int) -> Iterator[slice]:
    """Splits rows into ranges of at most ``most`` decoded numbers, or of one row."""
    cells = draws * max(math.prod(modality.parameter_shape()) for modality in modalities)
    step = max(1, most // cells)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def join(parts: Sequence[Summary]) -> Summary:
    """Join the summaries of consecutive rows."""
    if len(parts) == 1:
        return parts[0]
    fields: Sequence[Mapping[str, Any]] = parts
    whole: dict[str, Any] = {}
    for key, value in fields[0].items():
        if isinstance(value, np.ndarray):
            whole[key] = np.concatenate([piece[key] for piece in fields])
        elif isinstance(value, dict):
            whole[key] = {name: join([piece[key][name] for piece in fields]) for name in value}
        else:
            whole[key] = value
    return cast("Summary", whole)


def _summaries(
    modality: Modality,
    parameters: Parameters,
    options: SummaryOptions,
    first_row: int,
    correction: RowCorrections | None,
) -> Summary:
    draws, drawn = options.needs
    behind, shown = ({name: value[:, :k] for name, value in parameters.items()} for k in options.needs)
    summary: Summary = {}
    if draws:
        summary = summarise(modality, behind, options.fields, options.seed, first_row, correction)
    if drawn:
        summary["samples"] = samples(modality, shown, options.noise, options.seed, first_row)
    return summary


def summarise(
    modality: Modality,
    parameters: Parameters,
    fields: Collection[str],
    seed: int,
    first_row: int = 0,
    correction: RowCorrections | None = None,
) -> Summary:
    """Computes the requested summaries of one target.

    Arguments:
        modality: The target.
        parameters: The decoder's outputs at K draws of z per row: (n, K, *shape).
        fields: Some of ``mean``, ``std``, ``quantiles``, ``probabilities``; ignored
            where the kind does not have them.
        seed: Seed of the request.
        first_row: Index of the first row in the request.
        correction: Corrections of quantiles and probabilities; None for the model's own.
    """
    if modality.labels is not None:
        return _category(modality, parameters, fields, correction)
    summary: Summary = {}
    distribution = modality.distribution
    if isinstance(distribution, Mixed) and "probabilities" in fields:
        summary["labelled"] = _labelled(modality, distribution, parameters)
    draw = partial(draw_x, modality, parameters, seed, first_row)
    mean, std = _moments(modality, parameters, "std" in fields or correction is not None)
    if "mean" in fields:
        summary["mean"] = mean
    if "std" in fields:
        summary["std"] = std
    if "quantiles" in fields:
        if correction is None:
            summary["quantiles"] = _own_quantiles(modality, mean, draw)
        else:
            summary["quantiles"] = _corrected(modality, mean, std, draw, correction)
        summary["levels"] = list(LEVELS)
    return summary


def _moments(modality: Modality, parameters: Parameters, with_std: bool) -> tuple[Array, Array]:
    """Mean and standard deviation (0 without ``with_std``) over draws of z."""
    if not with_std:
        return modality.distribution.mean(parameters).mean(axis=1), np.zeros(())
    mean, variance = modality.distribution.mixture_moments(parameters)
    return mean, np.sqrt(variance)


def _own_quantiles(modality: Modality, mean: Array, draw: Callable[[], Array]) -> Array:
    """Quantiles of LEVELS, (n, levels, *shape); NaN where the cells of a table have labels."""
    exact = modality.distribution.mixture_quantiles(mean, LEVELS)
    if exact is not None:
        return exact
    drawn = quantiles(draw(), LEVELS, axis=1)
    return np.where(np.isnan(mean)[:, None], np.nan, drawn) if modality.traits.mixed else drawn


def _corrected(
    modality: Modality, mean: Array, std: Array, draw: Callable[[], Array], correction: RowCorrections
) -> Array:
    """Quantiles of LEVELS, (n, levels, *shape): ends of corrected intervals, and their centre."""
    stated = own_intervals(modality, mean, std, draw, CENTRAL)
    places = [COVERAGES.index(coverage) for coverage in CENTRAL]
    low, high = corrected(modality, stated, correction.widths[:, places])
    ends = (low[:, 1], low[:, 0], stated.centre, high[:, 0], high[:, 1])
    return np.stack(ends, axis=1).astype(mean.dtype)


def numbers_in(tree: Mapping[str, Any]) -> int:
    """Counts the numbers and texts in the arrays of a tree of dictionaries and lists of dictionaries."""
    total = 0
    for value in tree.values():
        kind = type(value)  # isinstance(value, Mapping) takes twenty times as long
        if kind is np.ndarray:
            total += value.size
        elif kind is dict:
            total += numbers_in(value)
        elif kind is list and value and type(value[0]) is dict:
            total += sum(map(numbers_in, value))
    return total


def numbers_by_row(modality: Modality, fields: Collection[str], draws: int) -> int:
    """Counts the numbers in the response for one row of a target, with so many samples."""
    parts = {"mean": 1, "std": 1, "quantiles": len(LEVELS)}
    if modality.labels:
        parts = {"probabilities": 2}  # and the labels, ranked
    parts["samples"] = draws
    shape = modality.shape if modality.traits.mixed else modality.parameter_shape()
    labels = sum(part.labels for part in modality.parts) if "probabilities" in fields else 0
    return math.prod(shape) * sum(parts.get(field, 0) for field in {*fields}) + 2 * labels


def characters(modality: Modality, fields: Collection[str], rows: int, draws: int) -> int:
    """Counts the characters of labels, columns and units in the response for some rows of a target.

    Labels are in arrays, whose texts all take as much as the longest.
    """
    by_row = 0
    for labels, longest in modality.label_sets:
        by_row += longest * (labels * ("probabilities" in fields) + draws * ("samples" in fields))
    return rows * by_row + modality.characters


def samples(modality: Modality, parameters: Parameters, noise: bool, seed: int, first_row: int = 0) -> Array:
    """Returns the mean of p(x | z) at each draw of z, or with ``noise`` a draw of x: (n, N, *shape).

    In place of a mean, a cell of a table with labels is the index of the most probable one.
    """
    if noise:
        return draw_x(modality, parameters, seed, first_row)
    distribution = modality.distribution
    means = distribution.mean(parameters)
    if isinstance(distribution, Mixed):
        for at, (_, of_column) in enumerate(distribution.columns(parameters)):
            if "logits" in of_column:
                means[..., at] = of_column["logits"].argmax(axis=-1)
    return means


def _labelled(modality: Modality, distribution: Mixed, parameters: Parameters) -> dict[str, Summary]:
    """Probabilities of the labels of each column of a table that has some, by its name."""
    return {
        column.name: _ranked(column.labels, family.mean(of_column).mean(axis=1))
        for column, (family, of_column) in zip(
            modality.columns or (), distribution.columns(parameters), strict=True
        )
        if column.labels
    }


def _category(
    modality: Modality, parameters: Parameters, fields: Collection[str], correction: RowCorrections | None
) -> Summary:
    probabilities = modality.distribution.mean(parameters).mean(axis=1)
    if correction is not None:
        probabilities = tempered(probabilities, correction.temperatures).astype(probabilities.dtype)
    if "probabilities" not in fields:
        return {}
    return _ranked(modality.labels or (), probabilities)


def _ranked(labels: Sequence[str], probabilities: Array) -> Summary:
    order = np.argsort(-probabilities, axis=-1, kind="stable")
    return {"ranked": np.array(labels)[order], "probabilities": probabilities}
