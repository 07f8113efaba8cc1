"""Random draws of z and of x. Pure numpy.

Every row draws from its own generator, seeded with (seed, row, purpose): a response depends neither on the
other rows of the request, nor on how its rows were split.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol
from zlib import crc32

import numpy as np

from models_store.arrays import Array
from models_store.latent import Mixture
from models_store.likelihoods import Parameters
from models_store.linear import Posterior
from models_store.manifest import Modality

ROWS_IN_BLOCK = 1024
FIRST, FURTHER = 0, 1
"""Kinds of draws of a row: the first one, and those after it."""
PURPOSE = crc32(b"z")


def generator(seed: int, row: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, row, crc32(purpose.encode())])


def fill_with_noise(drawn: Array, seed: int, first_row: int = 0) -> None:
    """Fills an array with standard normal draws; a row's first ones do not depend on their number.

    Arguments:
        drawn: Array to fill, contiguous, (n, draws, D).
        seed: Seed of the request.
        first_row: Index of the first row in the request.
    """
    n, draws, dimension = drawn.shape
    stream = _streams.stream
    if draws == 1 and not first_row and n <= ROWS_IN_BLOCK:  # the usual case
        stream.fill(drawn, seed, 0, FIRST)
        return
    # Moving the stream costs as much as some hundred draws, so the first draws of many rows are
    # drawn in one block.
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


class RowsToDraw(Protocol):
    """Rows of one request, and the draws to make for them."""

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def draws(self) -> int:
        """Number N of draws of z per row."""

    @property
    def seed(self) -> int:
        """Seed of the draws."""

    @property
    def first_row(self) -> int:
        """Index of the first row in the request."""

    @property
    def return_mean(self) -> bool:
        """Whether to return N copies of the mean instead of draws."""


def draw_z(posterior: Posterior, requests: Sequence[RowsToDraw]) -> list[Array]:
    """Draws z for the rows of several requests; (n, N, D) for each.

    Arguments:
        posterior: Distribution of all rows.
        requests: Requests, in the order of their rows.
    """
    mu, std = posterior.mu, np.exp(posterior.log_var / 2)
    draws, dimension = [one.draws for one in requests], mu.shape[1]
    z = np.zeros((sum([one.n * one.draws for one in requests]), dimension), np.float32)
    parts = []
    start = row = 0
    for one in requests:
        stop = start + one.n * one.draws
        part = z[start:stop].reshape(one.n, one.draws, dimension)
        if one.draws and not one.return_mean:
            fill_with_noise(part, one.seed, one.first_row)
            if posterior.factor is not None:
                part[:] = posterior.of(slice(row, row + one.n)).correlated(part)
        parts.append(part)
        start, row = stop, row + one.n
    if len(set(draws)) == 1:  # as in a single large request: no copy of its draws
        moved = z.reshape(len(mu), draws[0], dimension)
        moved *= std[:, None]
        moved += mu[:, None]
    else:
        times = np.repeat(draws, [one.n for one in requests])
        z *= np.repeat(std, times, axis=0)
        z += np.repeat(mu, times, axis=0)
    return parts


class _Stream:
    """One generator whose state is set for each use: making a new one takes longer than its draws."""

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=0)
        self._normal = np.random.Generator(self._bits).standard_normal
        self._state: Any = self._bits.state

    def fill(self, numbers: Array, seed: int, place: int, kind: int) -> None:
        """Draws from the substream of (seed, place, kind); substreams are 2^128 blocks apart."""
        self._state["state"] = {"counter": (0, 0, place, kind), "key": (seed, PURPOSE)}
        self._bits.state = self._state
        self._normal(out=numbers, dtype=np.float32)


class _Streams(threading.local):
    """One stream per thread."""

    def __init__(self) -> None:
        self.stream = _Stream()


_streams = _Streams()


def draw_mixture(mixture: Mixture, n: int, draws: int, seed: int) -> Array:
    """Draws z from a mixture for n rows, (n, draws, D); the first do not depend on their number."""
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


def draw_x(modality: Modality, parameters: Parameters, seed: int, first_row: int) -> Array:
    """Draws one x per draw of z, (n, K, *shape)."""
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
