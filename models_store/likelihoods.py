r"""The distributions :math:`p(x \mid z)` that a decoder can speak of, for arrays and tensors alike.

A decoder returns the parameters of one of them, by the names in ``Likelihood.parameters``; everything
here is elementwise, one number per cell of ``x``. A NaN cell of ``x`` is missing: its log-density is 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, final

import numpy as np
from array_api_compat import array_namespace, is_torch_array
from scipy import special

from models_store.errors import ManifestError
from models_store.fusion import LOG_2PI, Array

Parameters: TypeAlias = Mapping[str, Array]
"""A decoder's outputs by name, each with shape (*, *shape), for a category (*, classes)."""


class Likelihood(ABC):
    """One family of distributions over the cells of a modality, in the user's own units."""

    parameters: ClassVar[tuple[str, ...]]
    """The names of the decoder's outputs; the first is the one a network must give."""

    @abstractmethod
    def mean(self, parameters: Parameters) -> Array:
        """The expected value of x, for a category the probability of each class (classes last)."""

    @abstractmethod
    def variance(self, parameters: Parameters) -> Array:
        """The variance of x, with the shape of :meth:`mean`."""

    @abstractmethod
    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        """One draw of x per cell, on numpy parameters, for a category an index."""

    @abstractmethod
    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        """The log-density where nothing is missing."""

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
        if _at_hand(x) and not xp.any(missing):  # x is much smaller than all that is compared with it
            return self._log_prob(x, parameters)
        return xp.where(missing, 0.0, self._log_prob(xp.where(missing, 0.0, x), parameters))

    @final
    def row_log_prob(self, x: Array, parameters: Parameters) -> Array:
        """The log-density of whole rows of x, (n, *shape): the cells of :meth:`log_prob`, summed."""
        cells = self.log_prob(x, parameters)
        axes = tuple(range(1 - x.ndim, 0))
        return array_namespace(cells).sum(cells, axis=axes) if axes else cells


def _at_hand(x: Array) -> bool:
    """Whether a look at x is cheap: for one, a GPU and a graph that is being compiled would stop."""
    if not is_torch_array(x):
        return True
    torch = array_namespace(x)
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _as_float(x: Array, like: Array) -> Array:
    return array_namespace(like).astype(x, like.dtype)


def _log_gamma(x: Array) -> Array:
    return array_namespace(x).lgamma(x) if is_torch_array(x) else special.gammaln(x)


def _bounded(log_total: Array) -> Array:
    """Beyond e^16 a negative binomial is Poisson to within rounding, and e^-50 is as good as 0."""
    return array_namespace(log_total).clip(log_total, min=-50.0, max=16.0)


def _log_rising(count: Array, total: Array, log_total: Array) -> Array:
    r"""The logarithm of :math:`\Gamma(x + r) / \Gamma(r)`.

    For large r as the difference of Stirling's series (Abramowitz & Stegun, 6.1.41), in which the large
    terms cancel on paper instead of in single precision.
    """
    xp = array_namespace(count)
    large = total > 20
    r = xp.where(large, total, 20.0)
    series = (count + r - 0.5) * xp.log1p(count / r) - count + (1 / (count + r) - 1 / r) / 12
    small = xp.where(large, 20.0, total)
    exact = _log_gamma(count + small) - _log_gamma(small)
    return xp.where(large, series + count * log_total, exact)


def _draw_counts(rate: Array, rng: np.random.Generator) -> Array:
    """Poisson draws; from 1e15 on, which numpy does not take, a draw is its rate to within rounding."""
    usual = rate < 1e15
    return np.where(usual, rng.poisson(np.where(usual, rate, 0.0)), rate)


def _softplus(x: Array) -> Array:
    xp = array_namespace(x)
    if is_torch_array(x):
        # log(1 + e^x) in one pass each way, which logaddexp takes several for
        return xp.nn.functional.softplus(x)
    # an eighth of the time of logaddexp, which computes in a scalar loop
    return xp.maximum(x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))


def _odds_against(logits: Array) -> Array:
    xp = array_namespace(logits)
    return xp.exp(-xp.clip(logits, min=-88))  # float32 knows no power above e^88


def _sigmoid(logits: Array) -> Array:
    return 1 / (1 + _odds_against(logits))


@final
class Normal(Likelihood):
    r""":math:`\mathcal N(x; loc, scale^2)`, with ``log_scale`` = log of the standard deviation."""

    parameters = ("loc", "log_scale")

    def mean(self, parameters: Parameters) -> Array:
        return parameters["loc"]

    def variance(self, parameters: Parameters) -> Array:
        log_scale = parameters["log_scale"]
        return array_namespace(log_scale).exp(2 * log_scale)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        loc = parameters["loc"]
        return loc + np.exp(parameters["log_scale"]) * rng.standard_normal(loc.shape, loc.dtype)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        loc, log_scale = parameters["loc"], parameters["log_scale"]
        xp = array_namespace(loc)
        standardised = (_as_float(x, loc) - loc) * xp.exp(-log_scale)
        return standardised**2 / -2 - (log_scale + LOG_2PI / 2)


@final
class Laplace(Likelihood):
    r""":math:`e^{-|x - loc| / scale} / (2\, scale)`."""

    parameters = ("loc", "log_scale")

    def mean(self, parameters: Parameters) -> Array:
        return parameters["loc"]

    def variance(self, parameters: Parameters) -> Array:
        log_scale = parameters["log_scale"]
        return 2 * array_namespace(log_scale).exp(2 * log_scale)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        return rng.laplace(parameters["loc"], np.exp(parameters["log_scale"]))

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        loc, log_scale = parameters["loc"], parameters["log_scale"]
        xp = array_namespace(loc)
        deviation = xp.abs(_as_float(x, loc) - loc)
        return deviation * -xp.exp(-log_scale) - (log_scale + float(np.log(2)))


@final
@dataclass(frozen=True)
class Bernoulli(Likelihood):
    r""":math:`y \log p + (1 - y) \log (1 - p)`, :math:`y = (x - low) / (high - low)`; grey values welcome.

    Arguments:
        low: The value of x that stands for 0.
        high: The value of x that stands for 1.
    """

    parameters = ("logits",)
    low: float = 0.0
    high: float = 1.0

    def mean(self, parameters: Parameters) -> Array:
        return self.low + (self.high - self.low) * _sigmoid(parameters["logits"])

    def variance(self, parameters: Parameters) -> Array:
        against = _odds_against(parameters["logits"])
        p = 1 / (1 + against)
        return (self.high - self.low) ** 2 * (against * p * p)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        logits = parameters["logits"]
        ones = rng.random(logits.shape, logits.dtype) < _sigmoid(logits)
        return np.array([self.low, self.high], logits.dtype).take(ones)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        logits = parameters["logits"]
        y = (_as_float(x, logits) - self.low) / (self.high - self.low)
        return y * logits - _softplus(logits)


@final
class Categorical(Likelihood):
    r""":math:`p(x = c) = \operatorname{softmax}(logits)_c`; classes are the last axis, x an index."""

    parameters = ("logits",)

    def mean(self, parameters: Parameters) -> Array:
        logits = parameters["logits"]
        return array_namespace(logits).exp(self._log_softmax(logits))

    def variance(self, parameters: Parameters) -> Array:
        p = self.mean(parameters)
        return p * (1 - p)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        # Gumbel-max: the class whose log-probability plus Gumbel noise is largest
        logits = parameters["logits"]
        return np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        logits = parameters["logits"]
        xp = array_namespace(logits)
        index = xp.broadcast_to(xp.astype(x, xp.int64), logits.shape[:-1])
        return xp.take_along_axis(self._log_softmax(logits), index[..., None], axis=-1)[..., 0]

    @staticmethod
    def _log_softmax(logits: Array) -> Array:
        xp = array_namespace(logits)
        shifted = logits - xp.max(logits, axis=-1, keepdims=True)
        return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


@final
class Poisson(Likelihood):
    r""":math:`\lambda^x e^{-\lambda} / x!` with ``log_rate`` :math:`= \log \lambda`."""

    parameters = ("log_rate",)

    def mean(self, parameters: Parameters) -> Array:
        log_rate = parameters["log_rate"]
        return array_namespace(log_rate).exp(log_rate)

    def variance(self, parameters: Parameters) -> Array:
        return self.mean(parameters)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        return _draw_counts(np.exp(parameters["log_rate"]), rng)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        log_rate = parameters["log_rate"]
        count = _as_float(x, log_rate)
        return count * log_rate - array_namespace(log_rate).exp(log_rate) - _log_gamma(count + 1)


@final
class NegativeBinomial(Likelihood):
    r"""Counts of mean :math:`m` and variance :math:`m + m^2 / r`; ``log_total_count`` is :math:`\log r`."""

    parameters = ("log_mean", "log_total_count")

    def mean(self, parameters: Parameters) -> Array:
        log_mean = parameters["log_mean"]
        return array_namespace(log_mean).exp(log_mean)

    def variance(self, parameters: Parameters) -> Array:
        log_mean, log_total = parameters["log_mean"], _bounded(parameters["log_total_count"])
        xp = array_namespace(log_mean)
        return xp.exp(log_mean) + xp.exp(2 * log_mean - log_total)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        total = np.exp(_bounded(parameters["log_total_count"]))
        return _draw_counts(rng.gamma(total, np.exp(parameters["log_mean"]) / total), rng)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        log_mean, log_total = parameters["log_mean"], parameters["log_total_count"]
        xp = array_namespace(log_mean)
        log_total = _bounded(log_total)
        count, total = _as_float(x, log_mean), xp.exp(log_total)
        log_ratio = _softplus(log_mean - log_total)  # log (1 + m / r)
        ways = _log_rising(count, total, log_total) - _log_gamma(count + 1)
        return ways + count * (log_mean - log_total) - (count + total) * log_ratio


FAMILIES: Mapping[str, type[Likelihood]] = {
    "normal": Normal,
    "laplace": Laplace,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
}


def likelihood(name: str, value_range: tuple[float, float] | None = None) -> Likelihood:
    """The likelihood of that name.

    Arguments:
        name: A key of ``FAMILIES``.
        value_range: Lowest and highest value of x, which ``bernoulli`` maps to 0 and 1; [0, 1] if not given.

    Raises:
        ManifestError: No likelihood has that name.
    """
    if name not in FAMILIES:
        raise ManifestError(f"unknown likelihood '{name}'; known are {', '.join(FAMILIES)}")
    if name == "bernoulli" and value_range is not None:
        return Bernoulli(*value_range)
    return FAMILIES[name]()
