r"""The integrand of one row's score.

.. math::

    f(u) = N(u; 0, I) \, e^{\ell(u)}, \quad \ell(u) = \sum_{m \in T} \log p(x_m \mid z), \quad
    z = \mu_S + \sigma_S L_S u

with mean and standard deviations of :math:`q(z \mid x_S)`, and the Cholesky factor of its correlations;
0, 1 and I without a condition.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from models_store.arrays import Array
from models_store.fusion import LOG_2PI
from models_store.likelihoods import Likelihood, Parameters

T = TypeVar("T")
RowDecoded: TypeAlias = Sequence[Parameters]
"""Outputs of each target's decoder at the points of one row."""
Steps: TypeAlias = Generator[Array, RowDecoded, T]
"""A computation that yields points u, (p, D), is sent their decoded outputs, and returns a result."""


@dataclass(frozen=True)
class Integrand:
    """The integrand of one row.

    Arguments:
        mu: Mean of q(z | x_S), (D,).
        std: Its standard deviations, (D,).
        factor: Cholesky factor of its correlations, (D, D); None: dimensions are independent.
        observed: Likelihood and value, (1, *shape), of each modality of T that the row has.
    """

    mu: Array
    std: Array
    observed: Sequence[tuple[Likelihood, Array]]
    factor: Array | None = None

    def z(self, u: Array) -> Array:
        """Points in the space of the decoders: (p, D)."""
        return self.mu + self.std * (u if self.factor is None else u @ self.factor.T)

    def log_prob(self, u: Array, decoded: RowDecoded) -> Array:
        """The logarithm of f at points u, (p, D): (p,)."""
        prior = (np.sum(u**2, axis=-1) + u.shape[-1] * LOG_2PI) / -2
        return prior + self.log_likelihood(decoded)

    def log_likelihood(self, decoded: RowDecoded) -> Array:
        """l at the decoded points: (p,)."""
        total: Array = np.zeros(())
        for (family, x), parameters in zip(self.observed, decoded, strict=True):
            total = total + np.asarray(family.row_log_prob(x, parameters), np.float64)
        return total

    def information(self, centre: RowDecoded, tangents: RowDecoded) -> Array:
        """Fisher information of all targets about A directions: (A, A).

        Arguments:
            centre: Decoded outputs at the point, (*shape) each.
            tangents: Derivatives of the outputs along the directions, (A, *shape) each.
        """
        terms = zip(self.observed, centre, tangents, strict=True)
        return np.sum([family.information(x[0], at, along) for (family, x), at, along in terms], axis=0)


def decode(u: Array, at_once: int) -> Steps[RowDecoded]:
    """Decodes points in portions, and joins the outputs."""
    parts = []
    for start in range(0, len(u), at_once):
        parts += [(yield u[start : start + at_once])]
    if len(parts) == 1:
        return parts[0]
    return [
        {name: np.concatenate([parameters[name] for parameters in target]) for name in target[0]}
        for target in zip(*parts, strict=True)
    ]
