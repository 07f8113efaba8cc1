"""Likelihoods of counts: Poisson, negative binomial, and negative binomial with more zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from models_store.fusion import Array, array_namespace
from models_store.likelihoods.base import Constant, Likelihood, Parameters
from models_store.likelihoods.functions import as_float, draw_counts, log_gamma, log_rising, sigmoid, softplus


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


@final
class ZeroInflated(Likelihood):
    r"""Negative binomial counts that are 0 with the further probability :math:`\pi` (Greene, 1994).

    .. math:: p(x) = \pi \, [x = 0] + (1 - \pi) \, \mathrm{NB}(x; m, r), \quad \mu = (1 - \pi) \, m

    ``log_mean`` is the logarithm of the mean :math:`\mu` of all counts, ``log_total_count`` that of r, and
    ``zero_logit`` is :math:`\log \pi / (1 - \pi)`.

    >>> parameters = {"log_mean": np.log([1.0]), "log_total_count": np.log([4.0]), "zero_logit": np.zeros(1)}
    >>> family = ZeroInflated()
    >>> np.exp(family.log_prob(np.zeros(1), parameters)).round(4).tolist()  # 1/2 + 1/2 (4/6)^4
    [0.5988]
    >>> family.variance(parameters).round(4).tolist()
    [2.5]
    """

    parameters = ("log_mean", "log_total_count", "zero_logit")
    constants: ClassVar[Mapping[str, Constant]] = {
        "log_total_count": Constant("total_count"),
        "zero_logit": Constant("zero_odds"),
    }
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {
        **NegativeBinomial.bounds,
        # Beyond it the probability is 0 or 1 in single precision.
        "zero_logit": (-16.0, 16.0),
    }
    of_counts = True
    _counts = NegativeBinomial()

    def _component(self, parameters: Parameters) -> tuple[Parameters, Array, Array]:
        """Parameters of the negative binomial, and the logarithms of its weight and of that of 0."""
        zero_logit = self._clipped(parameters, "zero_logit")
        log_weight = -softplus(zero_logit)
        component = {
            "log_mean": parameters["log_mean"] - log_weight,
            "log_total_count": parameters["log_total_count"],
        }
        return component, log_weight, -softplus(-zero_logit)

    def mean(self, parameters: Parameters) -> Array:
        return self._counts.mean(parameters)

    def variance(self, parameters: Parameters) -> Array:
        component, log_weight, log_zero = self._component(parameters)
        xp = array_namespace(log_weight)
        # by the law of total variance; pi (1 - pi) m^2 is the variance of the means 0 and m
        between = xp.exp(log_weight + log_zero + 2 * component["log_mean"])
        return xp.exp(log_weight) * self._counts.variance(component) + between

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        component, log_weight, _ = self._component(parameters)
        drawn = self._counts.sample(component, rng)
        return np.where(rng.random(drawn.shape) < np.exp(log_weight), drawn, 0.0)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        component, log_weight, log_zero = self._component(parameters)
        xp = array_namespace(log_weight)
        counted = log_weight + self._counts.log_prob(x, component)
        return xp.where(x == 0, xp.logaddexp(log_zero, counted), counted)

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        # Of log_mean alone. What zeros of the negative binomial would add is lost by the probability that a
        # zero is a further one.
        component, log_weight, log_zero = self._component(parameters)
        total = np.exp(self._clipped(parameters, "log_total_count"))
        mean = np.exp(component["log_mean"])
        log_counted = log_weight + self._counts.log_prob(np.zeros_like(mean), component)
        slope = mean * total / (mean + total)  # minus the score of a zero; the information of a count
        lost = np.exp(log_counted) * slope**2 * sigmoid(log_zero - log_counted)
        information = np.exp(log_weight) * slope - lost
        return [tangents["log_mean"] * np.sqrt(np.maximum(information, 0.0))]
