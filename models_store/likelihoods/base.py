"""Interface of a likelihood: a family of distributions over the cells of a modality."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, final

import numpy as np

from models_store.fusion import Array, array_namespace
from models_store.likelihoods.functions import is_cheap_to_read

Parameters: TypeAlias = Mapping[str, Array]
"""A decoder's outputs by name, each with shape (*, *shape), for a category (*, classes)."""


@dataclass(frozen=True)
class Constant:
    """Value of a parameter that the decoder does not return.

    Arguments:
        option: Its name in ``decoder_dist_params``.
        value: Default of the option; the parameter is its logarithm.
    """

    option: str
    value: float = 1.0


class Likelihood(ABC):
    """One family of distributions over the cells of a modality, in the user's own units."""

    parameters: ClassVar[tuple[str, ...]]
    """The names of the decoder's outputs; the first is the one a network must give."""
    constants: ClassVar[Mapping[str, Constant]] = {}
    """By parameter after the first, its value where the decoder does not return it."""
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """By parameter, the range to which it is clipped."""
    of_counts: ClassVar[bool] = False
    """Whether x is a count and the first parameter the logarithm of its mean."""

    above_zero: ClassVar[bool] = False
    """Whether x is above 0 and the first parameter the centre of its logarithm."""

    @abstractmethod
    def mean(self, parameters: Parameters) -> Array:
        """The expected value of x, for a category the probability of each class (classes last)."""

    @abstractmethod
    def variance(self, parameters: Parameters) -> Array:
        """The variance of x, with the shape of :meth:`mean`."""

    def mixture_moments(self, parameters: Parameters) -> tuple[Array, Array]:
        """Mean and variance of a mixture with equal weights, by the law of total variance, in numpy.

        Arguments:
            parameters: Parameters of its components, which lie along the second axis: (n, K, *shape).
        """
        means = self.mean(parameters)
        return means.mean(axis=1), self.variance(parameters).mean(axis=1) + means.var(axis=1)

    def mixture_quantiles(self, mean: Array, levels: Sequence[float]) -> Array | None:  # noqa: ARG002
        """Quantiles of a mixture of this family that follow from the mixture's mean alone.

        Arguments:
            mean: The mixture's mean, (n, *shape), in numpy.
            levels: Levels between 0 and 1.

        Returns:
            Quantiles, (n, levels, *shape); None where they depend on more than the mean.
        """
        return None

    @abstractmethod
    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        """One draw of x per cell, on numpy parameters, for a category an index."""

    @abstractmethod
    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        """The log-density where nothing is missing."""

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:  # noqa: ARG002
        """Scaled tangents: their products, summed over cells, are the Fisher information.

        Arguments:
            parameters: The decoder's outputs at one point, (*shape) each.
            tangents: Their derivatives along A directions, (A, *shape) each.

        Returns:
            Arrays (A, *shape), for a category (A, classes); none where a family has no formula: proposals of
            scores then rely on the encoders.
        """
        return []

    def _clipped(self, parameters: Parameters, name: str) -> Array:
        low, high = self.bounds[name]
        value = parameters[name]
        return array_namespace(value).clip(value, min=low, max=high)

    @final
    def log_prob(self, x: Array, parameters: Parameters) -> Array:
        """The log-density (of counts and categories: log-probability) of each cell, in nats; 0 for NaN.

        Arguments:
            x: What was observed; broadcasts with the parameters from the last axis of x on.
            parameters: The decoder's outputs.
        """
        first = parameters[self.parameters[0]]
        xp = array_namespace(first)
        if not xp.isdtype(x.dtype, "real floating"):
            return self._log_prob(x, parameters)
        missing = xp.isnan(x)
        if is_cheap_to_read(x) and not xp.any(missing):  # x is much smaller than all that is compared with it
            return self._log_prob(x, parameters)
        filler = 1.0 if self.above_zero else 0.0
        return xp.where(missing, 0.0, self._log_prob(xp.where(missing, filler, x), parameters))

    @final
    def row_log_prob(self, x: Array, parameters: Parameters) -> Array:
        """The log-density of whole rows of x, (n, *shape): the cells of :meth:`log_prob`, summed."""
        cells = self.log_prob(x, parameters)
        axes = tuple(range(1 - x.ndim, 0))
        return array_namespace(cells).sum(cells, axis=axes) if axes else cells

    @final
    def information(self, x: Array, parameters: Parameters, tangents: Parameters) -> Array:
        r"""The Fisher information of one row of x about A directions: (A, A), on numpy arrays.

        .. math:: F = J^\top I J, \quad I = E_x [\nabla \log p(x) \, \nabla \log p(x)^\top]

        with J the tangents of the parameters. A missing cell of x has none.

        Arguments:
            x: The row, (*shape); only its missing cells matter.
            parameters: The decoder's outputs, (*shape) each.
            tangents: Derivatives of the outputs along the directions, (A, *shape) each.
        """
        missing = np.isnan(x) if np.issubdtype(x.dtype, np.floating) else np.zeros(x.shape, bool)
        directions = len(tangents[self.parameters[0]])
        total = np.zeros((directions, directions))
        for root in self._roots(parameters, tangents):
            if missing.any():
                root[:, missing] = 0
            flat = root.reshape(directions, -1)
            total += flat @ flat.T
        return total
