r"""Summaries of the predictive :math:`\int p(x \mid z) \, q(z \mid x_S) \, dz`, from draws of z. Pure numpy.

Every row draws from a generator of its own, seeded with (seed, row, purpose): an answer does not depend
on what else is in the request, nor on how it was cut into pieces.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from models_store.latent import Mixture
from models_store.likelihoods import Parameters
from models_store.manifest import Modality

Array = np.ndarray[Any, np.dtype[Any]]
Summary = dict[str, Any]

ROWS_IN_BLOCK = 1024
FIRST, FURTHER = 0, 1
"""Draws of a row: the first, and those after it."""
PURPOSE = crc32(b"z")
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SUMMARIES = ("mean", "std", "quantiles", "probabilities")
FIELDS = (*SUMMARIES, "samples")
CELLS_IN_CACHE = 2**18
"""Numbers summarised at a time: 1 MiB of float32, so that each step finds the numbers in the cache."""


class Wanted(NamedTuple):
    """What is asked about every target.

    Arguments:
        fields: Of ``FIELDS``.
        samples: N, if there are to be samples.
        draws: K, behind the summaries, if there are to be any.
        seed: Of draws of x.
        noise: Samples are draws of x instead of means of p(x | z).
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


def generator(seed: int, row: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, row, crc32(purpose.encode())])


def fill_with_noise(drawn: Array, seed: int, first_row: int = 0) -> None:
    """Standard normal draws; the first of a row do not depend on how many there are.

    Arguments:
        drawn: Where they go, contiguous, (n, draws, D).
        seed: Of the request.
        first_row: The number of the first row in the request.
    """
    n, draws, dimension = drawn.shape
    stream = _streams.own
    if draws == 1 and not first_row and n <= ROWS_IN_BLOCK:  # as most questions are
        stream.fill(drawn, seed, 0, FIRST)
        return
    # To move the stream takes as long as some hundred numbers, so the first draws of many rows are taken
    # one after the other.
    row = first_row
    while row < first_row + n:
        block, inside = divmod(row, ROWS_IN_BLOCK)
        stop = min((block + 1) * ROWS_IN_BLOCK, first_row + n)
        first = np.empty((stop - block * ROWS_IN_BLOCK, dimension), np.float32)
        stream.fill(first, seed, block, FIRST)
        drawn[row - first_row : stop - first_row, 0] = first[inside:]
        row = stop
    if draws > 1:
        for row in range(n):
            stream.fill(drawn[row, 1:], seed, first_row + row, FURTHER)


class _Stream:
    """One generator that is moved, since a new one takes longer than its draws."""

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=0)
        self._normal = np.random.Generator(self._bits).standard_normal
        self._state: Any = self._bits.state

    def fill(self, numbers: Array, seed: int, place: int, kind: int) -> None:
        """Numbers of their own for every seed, place and kind: 2^128 blocks lie between two of them."""
        self._state["state"] = {"counter": (0, 0, place, kind), "key": (seed, PURPOSE)}
        self._bits.state = self._state
        self._normal(out=numbers, dtype=np.float32)


class _Streams(threading.local):
    """One for each thread."""

    def __init__(self) -> None:
        self.own = _Stream()


_streams = _Streams()


def draw_mixture(mixture: Mixture, n: int, draws: int, seed: int) -> Array:
    """Draws of z from a mixture for n rows, (n, draws, D); the first do not depend on how many there are."""
    shape = (draws, mixture.means.shape[1])
    return np.stack(
        [
            mixture.sample(
                generator(seed, row, "component").random(draws),
                generator(seed, row, "z").standard_normal(shape, np.float32),
            )
            for row in range(n)
        ]
    )


def summaries(modality: Modality, parameters: Parameters, wanted: Wanted, first_row: int) -> Summary:
    """What is wanted of one target.

    Arguments:
        modality: The target.
        parameters: The decoder's outputs at the draws of z: (n, draws, *shape).
        wanted: What.
        first_row: The number of the first row in the request.
    """
    n, draws = next(iter(parameters.values())).shape[:2]

    def of(rows: slice) -> Summary:
        few = {name: value[rows] for name, value in parameters.items()}
        return _summaries(modality, few, wanted, first_row + rows.start)

    return joined([of(rows) for rows in pieces(n, draws, [modality], CELLS_IN_CACHE)])


def pieces(n: int, draws: int, modalities: Sequence[Modality], most: int) -> Iterator[slice]:
    """Ranges of rows whose decoded draws are no more numbers than that, or of one row."""
    cells = draws * max(math.prod(modality.parameter_shape()) for modality in modalities)
    step = max(1, most // cells)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def joined(found: Sequence[Summary]) -> Summary:
    """The summaries of rows after each other, as one."""
    if len(found) == 1:
        return found[0]
    return {
        key: np.concatenate([piece[key] for piece in found]) if isinstance(value, np.ndarray) else value
        for key, value in found[0].items()
    }


def _summaries(modality: Modality, parameters: Parameters, wanted: Wanted, first_row: int) -> Summary:
    behind, shown = ({name: value[:, :draws] for name, value in parameters.items()} for draws in wanted.needs)
    draws, drawn = wanted.needs
    summary: Summary = {}
    if draws:
        summary = summarise(modality, behind, wanted.fields, wanted.seed, first_row)
    if drawn:
        summary["samples"] = samples(modality, shown, wanted.noise, wanted.seed, first_row)
    return summary


def summarise(
    modality: Modality,
    parameters: Parameters,
    fields: Collection[str],
    seed: int,
    first_row: int = 0,
) -> Summary:
    """The asked-for summaries of one target.

    Arguments:
        modality: The target.
        parameters: The decoder's outputs at K draws of z per row: (n, K, *shape).
        fields: Of ``mean``, ``std``, ``quantiles``, ``probabilities``; those that the kind has are given.
        seed: Of the request.
        first_row: The number of the first row in the request.
    """
    if modality.labels is not None:
        return _category(modality, parameters, fields)
    summary: Summary = {}
    distribution = modality.distribution
    means = distribution.mean(parameters)
    if "mean" in fields:
        summary["mean"] = means.mean(axis=1)
    if "std" in fields:
        # the law of total variance
        spread = distribution.variance(parameters).mean(axis=1) + means.var(axis=1)
        summary["std"] = np.sqrt(spread)
    if "quantiles" in fields:
        summary["quantiles"] = _quantiles(modality, parameters, seed, first_row)
        summary["levels"] = list(LEVELS)
    return summary


def numbers_by_row(modality: Modality, fields: Collection[str], draws: int) -> int:
    """The numbers in the answer about one row of a target, with that many samples."""
    parts = {"mean": 1, "std": 1, "quantiles": len(LEVELS)}
    if modality.labels:
        parts = {"probabilities": 2}  # and the labels, ranked
    parts["samples"] = draws
    return math.prod(modality.parameter_shape()) * sum(parts.get(field, 0) for field in {*fields})


def samples(modality: Modality, parameters: Parameters, noise: bool, seed: int, first_row: int = 0) -> Array:
    """The mean of p(x | z) at each draw of z, or with ``noise`` a draw of x: (n, N, *shape)."""
    return draw_x(modality, parameters, seed, first_row) if noise else modality.distribution.mean(parameters)


def draw_x(modality: Modality, parameters: Parameters, seed: int, first_row: int) -> Array:
    """One draw of x per draw of z: (n, K, *shape)."""
    rows = len(next(iter(parameters.values())))
    return np.stack(
        [
            modality.distribution.sample(
                {name: value[row] for name, value in parameters.items()},
                generator(seed, first_row + row, modality.name),
            )
            for row in range(rows)
        ]
    )


def _category(modality: Modality, parameters: Parameters, fields: Collection[str]) -> Summary:
    labels: Sequence[str] = modality.labels or ()
    probabilities = modality.distribution.mean(parameters).mean(axis=1)
    if "probabilities" not in fields:
        return {}
    order = np.argsort(-probabilities, axis=-1, kind="stable")
    return {"ranked": np.array(labels)[order], "probabilities": probabilities}


def _quantiles(modality: Modality, parameters: Parameters, seed: int, first_row: int) -> Array:
    """(n, levels, *shape), from one draw of x per draw of z."""
    drawn = np.ascontiguousarray(np.moveaxis(draw_x(modality, parameters, seed, first_row), 1, -1))
    drawn.sort(axis=-1)
    # Weibull's: of K draws, a share p of future ones lies below the quantile p on average. numpy's own,
    # quantile(method="weibull"), takes five times as long.
    last = drawn.shape[-1] - 1
    places = np.clip(np.array(LEVELS) * (last + 2) - 1, 0, last)
    below = places.astype(int)
    share = (places - below).astype(np.result_type(drawn, np.float32))
    low, high = drawn[..., below], drawn[..., np.minimum(below + 1, last)]
    return np.moveaxis(low + (high - low) * share, -1, 1)
