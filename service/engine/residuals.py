"""Correlation between the numbers of a row beyond z: the factors of their residuals, and draws of them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import numpy as np

from models_store.arrays import Array
from models_store.likelihoods import Parameters
from models_store.manifest import Modality
from models_store.residuals import Factors, Residuals, standardised
from service.engine.calibrating import RowCorrections
from service.engine.draws import generator
from service.engine.observations import Column, Observations
from service.engine.summaries import Summary, SummaryOptions, pieces, summaries
from service.engine.workers import aside

Decode = Callable[[Modality, Array], Awaitable[Parameters]]
"""Runs a decoder: from z, (n, K, D), to its outputs, (n, K, *shape)."""
PURPOSE = "residuals "
"""Purpose of the draws of the factors, with a character that no name of a modality has."""


class RowFactors(NamedTuple):
    """Factors of n rows at K draws of z.

    Arguments:
        residuals: Their model.
        expected: Their distribution given what is observed, from which summaries follow without noise.
        drawn: One draw from it for each draw of z, which all targets of a sample share.
    """

    residuals: Residuals
    expected: Factors
    drawn: Factors

    def of(self, rows: slice) -> RowFactors:
        expected, drawn = (Factors(*(field[rows] for field in part)) for part in self[1:])
        return RowFactors(self.residuals, expected, drawn)


async def factors_of_rows(
    residuals: Residuals,
    given: Sequence[Modality],
    decode: Decode,
    observations: Observations,
    z: Array,
    *,
    seed: int,
    at_once: int,
    exact: bool,
) -> RowFactors:
    """Distribution of the factors given the observed numbers of each row, and draws from it.

    Arguments:
        residuals: Factor model of the bundle.
        given: The condition.
        decode: Runs the decoder of a modality.
        observations: Rows of the request.
        z: Draws of z, (n, K, D).
        seed: Seed of the request.
        at_once: Numbers that are decoded at a time.
        exact: Whether samples have the expected factors instead of draws.
    """
    n, draws = z.shape[:2]
    shown = [modality for modality in given if residuals.rank and modality.name in residuals.cells]
    parts = []
    for rows in pieces(n, draws, shown, at_once) if shown else [slice(0, n)]:
        here: dict[str, Array] = {}
        for modality in shown:
            parameters = await decode(modality, z[rows])
            column, size = observations.columns[modality.name], parameters["loc"].size
            here[modality.name] = await aside(size, _observed, modality, column, rows, parameters)
        parts.append(await aside(draws * n, residuals.factors, here, z[rows]))
    expected = Factors(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))
    if exact:
        return RowFactors(residuals, expected, expected)
    noise = np.stack(
        [
            generator(seed, observations.first_row + row, PURPOSE).standard_normal((draws, residuals.rank))
            for row in range(n)
        ]
    )
    return RowFactors(residuals, expected, expected.drawn(noise))


def _observed(modality: Modality, column: Column, rows: slice, parameters: Parameters) -> Array:
    residuals = standardised(modality, column.values[rows], parameters)
    return np.where(column.present[rows, None, None], residuals, math.nan)


def summarised(
    modality: Modality,
    parameters: Parameters,
    options: SummaryOptions,
    first_row: int,
    correction: RowCorrections | None,
    factors: RowFactors | None,
) -> Summary:
    """Computes :func:`summaries` of one target, of which numbers depend on the factors of their row.

    Arguments:
        modality: The target.
        parameters: Outputs of its decoder at the draws of z: (n, draws, *shape).
        options: Requested summaries.
        first_row: Index of the first row in the request.
        correction: Corrections of these rows, if any.
        factors: Factors of these rows; None where the bundle has none.
    """
    if factors is None or modality.name not in factors.residuals.cells:
        return summaries(modality, parameters, options, first_row, correction)
    fields = frozenset(options.fields)
    parts = []
    for some, of_some in ((fields - {"samples"}, factors.expected), (fields & {"samples"}, factors.drawn)):
        if some:
            applied = factors.residuals.applied(modality.name, parameters, of_some)
            parts.append(summaries(modality, applied, options._replace(fields=some), first_row, correction))
    whole: Summary = {}
    for part in parts:
        whole.update(part)
    return whole
