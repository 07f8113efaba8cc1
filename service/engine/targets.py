"""Summaries of the targets of one request, decoded in pieces that fit into memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from models_store.arrays import Array
from models_store.manifest import Modality, decoder_file
from service.engine.admission import Computation
from service.engine.batching import Outputs, Runner
from service.engine.calibrating import RowCorrections
from service.engine.importance import CELLS_AT_ONCE
from service.engine.observations import Observations
from service.engine.phases import CURRENT
from service.engine.residuals import RowFactors, summarised
from service.engine.summaries import (
    AVERAGED_AT_ONCE,
    Summary,
    SummaryOptions,
    join,
    only_averages,
    pieces,
)
from service.engine.workers import aside

ROW_COST = 1000
"""Numbers that are drawn in the time that it takes to make the generator of a row."""


class Draws(NamedTuple):
    """Draws of one request, from which its targets are summarised.

    Arguments:
        graphs: Runner of each graph, by file name.
        observations: Rows of the request.
        z: Draws of z, (n, K, D).
        options: Requested summaries.
        factors: Factors of the residuals of the rows, if the bundle has them.
        computation: Long computation that the summaries are part of, if they are.
    """

    graphs: Mapping[str, Runner]
    observations: Observations
    z: Array
    options: SummaryOptions
    factors: RowFactors | None
    computation: Computation | None

    async def summary(self, modality: Modality, correction: RowCorrections | None) -> Summary:
        """Summary of one target for all rows, decoded in pieces that fit into memory."""
        parts, draws = [], self.z.shape[1]
        for rows in pieces(self.observations.n, draws, [modality], CELLS_AT_ONCE):
            parts.append(await self._piece(modality, rows, correction and correction.of(rows)))
            if self.computation is not None:
                count = len(self.z[rows]) * draws
                self.computation.add(self.graphs[decoder_file(modality.name)].seconds(count))
                self.computation.advance(count * math.prod(modality.parameter_shape()))
        return join(parts)

    async def _piece(self, modality: Modality, rows: slice, correction: RowCorrections | None) -> Summary:
        z, factors = self.z[rows], self.factors and self.factors.of(rows)
        parameters = await decode(self.graphs, modality, z)
        CURRENT.get().record("decode")
        size = size_of(*z.shape[:2], *modality.parameter_shape())
        if only_averages(modality, self.options, correction):
            size //= AVERAGED_AT_ONCE
        first = self.observations.first_row + rows.start
        run = partial(aside, size) if self.computation is None else self.computation.run
        summary = await run(summarised, modality, parameters, self.options, first, correction, factors)
        CURRENT.get().record("summarise")
        return summary


async def decode(graphs: Mapping[str, Runner], modality: Modality, z: Array) -> Outputs:
    """The parameters of p(x | z): (n, K, *shape) for z of shape (n, K, D)."""
    flat = np.ascontiguousarray(z.reshape(-1, z.shape[-1]), np.float32)
    outputs = await graphs[decoder_file(modality.name)].run(flat)
    return {name: value.reshape(*z.shape[:2], *value.shape[1:]) for name, value in outputs.items()}


def size_of(rows: int, draws: int, *shape: int) -> int:
    """Cost of an answer in numbers; a row adds ``ROW_COST``, since it has a generator."""
    return rows * (ROW_COST + draws * math.prod(shape))
