"""Likelihoods of counts: Poisson and negative binomial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from models_store.fusion import Array, array_namespace
from models_store.likelihoods.base import Constant, Likelihood, Parameters
from models_store.likelihoods.functions import as_float, draw_counts, log_gamma, log_rising, softplus


@final
class Poisson(Likelihood):
    r""":math:`\lambda^x e^{-\lambda} / x!` with ``log_rate`` :math:`= \log \lambda`.

    >>> Poisson().log_prob(np.zeros(1), {"log_rate": np.log([2.0])}).round(4).tolist()
    [-2.0]
    """

    parameters = ("log_rate",)
    of_counts = True

    def mean(self, parameters: Parameters) -> Array:
        log_rate = parameters["log_rate"]
        return array_namespace(log_rate).exp(log_rate)

    def variance(self, parameters: Parameters) -> Array:
        return self.mean(parameters)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        return draw_counts(np.exp(parameters["log_rate"]), rng)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        log_rate = parameters["log_rate"]
        count = as_float(x, log_rate)
        return count * log_rate - array_namespace(log_rate).exp(log_rate) - log_gamma(count + 1)

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        return [tangents["log_rate"] * np.exp(parameters["log_rate"] / 2)]


@final
class NegativeBinomial(Likelihood):
    r"""Counts of mean :math:`m` and variance :math:`m + m^2 / r`; ``log_total_count`` is :math:`\log r`.

    >>> parameters = {"log_mean": np.log([2.0]), "log_total_count": np.log([4.0])}
    >>> NegativeBinomial().variance(parameters).round(4).tolist()
    [3.0]
    """

    parameters = ("log_mean", "log_total_count")
    constants: ClassVar[Mapping[str, Constant]] = {"log_total_count": Constant("total_count")}
    # Beyond e^16 it is Poisson to within rounding, and e^-50 is as good as 0.
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"log_total_count": (-50.0, 16.0)}
    of_counts = True

    def mean(self, parameters: Parameters) -> Array:
        log_mean = parameters["log_mean"]
        return array_namespace(log_mean).exp(log_mean)

    def variance(self, parameters: Parameters) -> Array:
        log_mean, log_total = parameters["log_mean"], self._clipped(parameters, "log_total_count")
        xp = array_namespace(log_mean)
        return xp.exp(log_mean) + xp.exp(2 * log_mean - log_total)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        total = np.exp(self._clipped(parameters, "log_total_count"))
        return draw_counts(rng.gamma(total, np.exp(parameters["log_mean"]) / total), rng)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        log_mean, log_total = parameters["log_mean"], self._clipped(parameters, "log_total_count")
        xp = array_namespace(log_mean)
        count, total = as_float(x, log_mean), xp.exp(log_total)
        log_ratio = softplus(log_mean - log_total)  # log (1 + m / r)
        ways = log_rising(count, total, log_total) - log_gamma(count + 1)
        return ways + count * (log_mean - log_total) - (count + total) * log_ratio

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        # that of log_total_count is left out: it has no closed form
        log_mean, log_total = parameters["log_mean"], self._clipped(parameters, "log_total_count")
        return [tangents["log_mean"] * np.exp(-np.logaddexp(-log_mean, -log_total) / 2)]
