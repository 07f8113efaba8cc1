r"""The distributions :math:`p(x \mid z)` that a decoder can speak of, for arrays and tensors alike.

A decoder returns the parameters named in ``Likelihood.parameters``. All is elementwise, one number per
cell of ``x``. A NaN cell of ``x`` is missing: its log-density is 0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, final

import numpy as np
from array_api_compat import array_namespace, is_torch_array
from scipy import special

from models_store.errors import ManifestError
from models_store.fusion import LOG_2PI, Array

LOG_2, LOG_PI = math.log(2), math.log(math.pi)

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
        if _at_hand(x) and not xp.any(missing):  # x is much smaller than all that is compared with it
            return self._log_prob(x, parameters)
        return xp.where(missing, 0.0, self._log_prob(xp.where(missing, 0.0, x), parameters))

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
    constants: ClassVar[Mapping[str, Constant]] = {"log_scale": Constant("scale")}

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

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        precision = np.exp(-parameters["log_scale"])
        return [tangents["loc"] * precision, tangents["log_scale"] * math.sqrt(2)]


@final
class StudentT(Likelihood):
    r"""Student's t: :math:`loc + scale \cdot t_\nu`, with ``log_df`` :math:`= \log \nu` clipped to ±7.

    .. math:: p(x) = \frac{\Gamma((\nu + 1) / 2)}{\Gamma(\nu / 2) \sqrt{\nu \pi}\, scale}
        (1 + y^2 / \nu)^{-(\nu + 1) / 2}, \quad y = (x - loc) / scale

    Its tails are heavier than those of a normal distribution, so that outliers weigh less. Reference:
    Lange, Little & Taylor, Robust statistical modeling using the t distribution (1989).

    >>> family = StudentT()
    >>> parameters = {"loc": np.zeros(1), "log_scale": np.zeros(1), "log_df": np.log([4.0])}
    >>> family.log_prob(np.zeros(1), parameters).round(4).tolist()
    [-0.9808]
    >>> family.variance(parameters).round(4).tolist()
    [2.0]
    """

    parameters = ("loc", "log_scale", "log_df")
    constants: ClassVar[Mapping[str, Constant]] = {
        "log_scale": Constant("scale"),
        "log_df": Constant("df", 5.0),
    }
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"log_df": (-7.0, 7.0)}

    def mean(self, parameters: Parameters) -> Array:
        """``loc``: the expected value where df > 1, the centre of symmetry everywhere."""
        return parameters["loc"]

    def variance(self, parameters: Parameters) -> Array:
        """scale² df / (df - 2); infinite where df <= 2."""
        log_scale = parameters["log_scale"]
        xp = array_namespace(log_scale)
        df = xp.exp(self._clipped(parameters, "log_df"))
        finite = df > 2
        factor = xp.where(finite, df / xp.where(finite, df - 2, 1.0), math.inf)
        return factor * xp.exp(2 * log_scale)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        """One draw of x per cell; draws of t beyond ±1e18 are set to it: their squares fit float32."""
        loc = parameters["loc"]
        df = np.exp(self._clipped(parameters, "log_df"))
        drawn = rng.standard_t(np.broadcast_to(df, loc.shape)).clip(-1e18, 1e18)
        return loc + np.exp(parameters["log_scale"]) * drawn.astype(loc.dtype)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        loc, log_scale = parameters["loc"], parameters["log_scale"]
        xp = array_namespace(loc)
        log_df = self._clipped(parameters, "log_df")
        df = xp.exp(log_df)
        squared = ((_as_float(x, loc) - loc) * xp.exp(-log_scale)) ** 2
        half = xp.zeros_like(df) + 0.5
        log_norm = _log_rising(half, df / 2, log_df - LOG_2) - (log_df + LOG_PI) / 2
        return log_norm - log_scale - (df + 1) / 2 * xp.log1p(squared / df)

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        # Lange, Little & Taylor (1989); that of log_df, which is small, is left out
        df = np.exp(self._clipped(parameters, "log_df"))
        precision = np.exp(-parameters["log_scale"]) * np.sqrt((df + 1) / (df + 3))
        return [tangents["loc"] * precision, tangents["log_scale"] * np.sqrt(2 * df / (df + 3))]


@final
class Laplace(Likelihood):
    r""":math:`e^{-|x - loc| / scale} / (2\, scale)`."""

    parameters = ("loc", "log_scale")
    constants: ClassVar[Mapping[str, Constant]] = {"log_scale": Constant("scale")}

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

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        return [tangents["loc"] * np.exp(-parameters["log_scale"]), tangents["log_scale"]]


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

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        against = _odds_against(parameters["logits"])
        return [tangents["logits"] * (np.sqrt(against) / (1 + against))]


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

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        p = self.mean(parameters)
        along = tangents["logits"]
        return [np.sqrt(p) * (along - np.sum(p * along, axis=-1, keepdims=True))]

    @staticmethod
    def _log_softmax(logits: Array) -> Array:
        xp = array_namespace(logits)
        shifted = logits - xp.max(logits, axis=-1, keepdims=True)
        return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


@final
class Poisson(Likelihood):
    r""":math:`\lambda^x e^{-\lambda} / x!` with ``log_rate`` :math:`= \log \lambda`."""

    parameters = ("log_rate",)
    of_counts = True

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

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        return [tangents["log_rate"] * np.exp(parameters["log_rate"] / 2)]


@final
class NegativeBinomial(Likelihood):
    r"""Counts of mean :math:`m` and variance :math:`m + m^2 / r`; ``log_total_count`` is :math:`\log r`."""

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
        return _draw_counts(rng.gamma(total, np.exp(parameters["log_mean"]) / total), rng)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        log_mean, log_total = parameters["log_mean"], self._clipped(parameters, "log_total_count")
        xp = array_namespace(log_mean)
        count, total = _as_float(x, log_mean), xp.exp(log_total)
        log_ratio = _softplus(log_mean - log_total)  # log (1 + m / r)
        ways = _log_rising(count, total, log_total) - _log_gamma(count + 1)
        return ways + count * (log_mean - log_total) - (count + total) * log_ratio

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        # that of log_total_count is left out: it has no closed form
        log_mean, log_total = parameters["log_mean"], self._clipped(parameters, "log_total_count")
        return [tangents["log_mean"] * np.exp(-np.logaddexp(-log_mean, -log_total) / 2)]


FAMILIES: Mapping[str, type[Likelihood]] = {
    "normal": Normal,
    "laplace": Laplace,
    "student_t": StudentT,
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
