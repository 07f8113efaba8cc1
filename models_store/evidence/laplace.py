r"""The mode of a row's integrand, its curvature, and its widths along the axes of the Hessian.

Fisher scoring moves u by :math:`a H^{-1} g` with :math:`H = I + \sum_m J_m^\top I_m J_m`. The Jacobians
:math:`J_m` are differences of decoded outputs. Decoders with ReLU are piecewise linear, so this is nearly
exact within a piece. Nothing is drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models_store.arrays import Array
from models_store.evidence.integrand import Integrand, Steps, decode
from models_store.likelihoods import Parameters

MOST_STEPS, LEAST_GAIN = 6, 0.5
"""Steps of Fisher scoring: at least two, then until one gains less than so many nats."""
FRACTIONS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
"""Tried fractions of a step. Rows that the model does not know need the small ones."""
ACTIVE, CURVED = 1.02, 1.05
"""Least curvature of a dimension to be differenced again, and of an axis to be given its own widths."""
NARROWEST = 0.1
"""Least initial scale, in standard deviations of q(z | x_S)."""
REACH, LEAST, MOST = 1.5, 0.5, 3.0
"""Distance at which a width is measured, in standard deviations, and the range of its correction."""


@dataclass(frozen=True)
class Peak:
    """A split normal at the mode of the integrand.

    Arguments:
        centre: The mode, (D,).
        axes: Orthonormal axes as columns, (D, D).
        ahead: Standard deviations in the direction of each axis, (D,).
        behind: Those in the opposite direction, (D,).
    """

    centre: Array
    axes: Array
    ahead: Array
    behind: Array


def peak(row: Integrand, start: Array, scales: Array, at_once: int) -> Steps[Peak | None]:
    """Finds the mode and the widths around it; None where outputs of the decoders are not finite.

    Arguments:
        row: The integrand.
        start: Initial point, the encoders' mean, (D,).
        scales: Initial scales, the encoders' standard deviations, (D,).
        at_once: Number of points to decode together.
    """
    u, scales = start, np.maximum(scales, NARROWEST)
    active = np.arange(len(start))
    for step in range(MOST_STEPS):
        gradient, hessian = yield from _slopes(row, u, scales / 2, active, step > 0, at_once)
        if not (np.isfinite(gradient).all() and np.isfinite(hessian).all()):
            return None
        direction = np.linalg.solve(hessian, gradient)
        tried = u + np.array([0.0, *FRACTIONS])[:, None] * direction
        values = np.nan_to_num(row.log_prob(tried, (yield from decode(tried, at_once))), nan=-np.inf)
        best = int(np.argmax(values))
        gain = values[best] - values[0]
        u, scales = tried[best], np.diag(hessian) ** -0.5
        active = np.flatnonzero(np.diag(hessian) > ACTIVE)
        if not len(active) or (step > 0 and not gain >= LEAST_GAIN):
            break
    return (yield from _widths(row, u, hessian, at_once))


def _slopes(
    row: Integrand, u: Array, steps: Array, active: Array, central: bool, at_once: int
) -> Steps[tuple[Array, Array]]:
    """Gradient, (D,), and expected negative Hessian, (D, D), of log f, by differences along ``active``."""
    moves = np.eye(len(u))[active] * steps[active, None]
    points = np.concatenate([u[None], u + moves, *([u - moves] if central else [])])
    decoded = yield from decode(points, at_once)
    values = row.log_likelihood(decoded)
    count, widths = len(active), steps[active]
    ahead, behind = slice(1, 1 + count), slice(1 + count, None) if central else slice(0, 1)
    span = 2 * widths if central else widths
    tangents = [_tangents(parameters, ahead, behind, span) for parameters in decoded]
    centre = [{name: value[0] for name, value in parameters.items()} for parameters in decoded]
    information = row.information(centre, tangents)
    slope = (values[ahead] - values[behind]) / span
    if not central:  # the curvature's part in a forward difference
        slope = slope + widths * np.diag(information) / 2
    gradient, hessian = -u, np.eye(len(u))
    gradient[active] += slope
    hessian[np.ix_(active, active)] += information
    return gradient, hessian


def _tangents(parameters: Parameters, ahead: slice, behind: slice, span: Array) -> Parameters:
    return {
        name: (value[ahead] - value[behind]) / span.reshape(-1, *(1,) * (value.ndim - 1)).astype(value.dtype)
        for name, value in parameters.items()
    }


def _widths(row: Integrand, u: Array, hessian: Array, at_once: int) -> Steps[Peak]:
    """The split normal along the axes of the Hessian, with widths from the fall of log f on both sides."""
    curvature, axes = np.linalg.eigh(hessian)
    scales = np.maximum(curvature, 1.0) ** -0.5
    curved = np.flatnonzero(curvature > CURVED)
    moves = REACH * (axes[:, curved] * scales[curved]).T
    points = np.concatenate([u[None], u + moves, u - moves])
    values = row.log_prob(points, (yield from decode(points, at_once)))
    sides = []
    for part in np.split(values[1:], 2):
        fall = values[0] - part
        factor = np.where(fall > 0, REACH / np.sqrt(2 * np.maximum(fall, 1e-9)), MOST)
        side = scales.copy()
        side[curved] *= np.clip(np.where(np.isnan(fall), 1.0, factor), LEAST, MOST)
        sides.append(np.minimum(side, 1.0))
    return Peak(u, axes, *sides)
