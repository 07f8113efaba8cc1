"""Likelihoods of numbers on the whole line, normal, Student's t and Laplace, and above 0, log-normal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from models_store.fusion import LOG_2PI, Array, array_namespace
from models_store.likelihoods.base import Constant, Likelihood, Parameters
from models_store.likelihoods.functions import as_float, log_rising

LOG_2 = math.log(2)
LOG_PI = math.log(math.pi)
LARGEST_LOG = 87.0
"""Its exponential, and that of its negative, are normal numbers in single precision."""


@final
class Normal(Likelihood):
    r""":math:`\mathcal N(x; loc, scale^2)`, with ``log_scale`` = log of the standard deviation.

    >>> standard = {"loc": np.zeros(1), "log_scale": np.zeros(1)}
    >>> Normal().log_prob(np.zeros(1), standard).round(4).tolist()
    [-0.9189]
    """

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
        standardised = (as_float(x, loc) - loc) * xp.exp(-log_scale)
        return standardised**2 / -2 - (log_scale + LOG_2PI / 2)

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        precision = np.exp(-parameters["log_scale"])
        return [tangents["loc"] * precision, tangents["log_scale"] * math.sqrt(2)]


@final
class LogNormal(Likelihood):
    r"""Positive x whose logarithm is normal: :math:`\log x \sim \mathcal N(loc, scale^2)`.

    .. math:: \log p(x) = \log \mathcal N(\log x; loc, scale^2) - \log x

    The last term is the Jacobian, so that densities are in the units of x. The median is :math:`e^{loc}`, and
    every quantile the exponential of the one of log x. The density of x ≤ 0 is 0.

    >>> parameters = {"loc": np.log([2.0]), "log_scale": np.zeros(1)}
    >>> LogNormal().log_prob(np.full(1, 2.0), parameters).round(4).tolist()
    [-1.6121]
    >>> LogNormal().mean(parameters).round(4).tolist()
    [3.2974]
    """

    parameters = ("loc", "log_scale")
    constants: ClassVar[Mapping[str, Constant]] = {"log_scale": Constant("scale")}
    above_zero = True

    def mean(self, parameters: Parameters) -> Array:
        loc, log_scale = parameters["loc"], parameters["log_scale"]
        xp = array_namespace(loc)
        return xp.exp(loc + xp.exp(2 * log_scale) / 2)

    def variance(self, parameters: Parameters) -> Array:
        """(exp(scale²) - 1) exp(2 loc + scale²)."""
        loc, log_scale = parameters["loc"], parameters["log_scale"]
        xp = array_namespace(loc)
        squared = xp.exp(2 * log_scale)
        return xp.expm1(squared) * xp.exp(2 * loc + squared)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        """One draw of x per cell; log x is clipped, so that x is finite and above 0."""
        loc = parameters["loc"]
        drawn = loc + np.exp(parameters["log_scale"]) * rng.standard_normal(loc.shape, loc.dtype)
        return np.exp(np.clip(drawn, -LARGEST_LOG, LARGEST_LOG))

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        loc, log_scale = parameters["loc"], parameters["log_scale"]
        xp = array_namespace(loc)
        value = as_float(x, loc)
        above = value > 0
        log_x = xp.log(xp.where(above, value, 1.0))
        standardised = (log_x - loc) * xp.exp(-log_scale)
        return xp.where(above, standardised**2 / -2 - (log_scale + LOG_2PI / 2) - log_x, -math.inf)

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        # as of the normal distribution of log x: information does not depend on the units of x
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
        squared = ((as_float(x, loc) - loc) * xp.exp(-log_scale)) ** 2
        half = xp.zeros_like(df) + 0.5
        log_norm = log_rising(half, df / 2, log_df - LOG_2) - (log_df + LOG_PI) / 2
        return log_norm - log_scale - (df + 1) / 2 * xp.log1p(squared / df)

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        # Lange, Little & Taylor (1989); that of log_df, which is small, is left out
        df = np.exp(self._clipped(parameters, "log_df"))
        precision = np.exp(-parameters["log_scale"]) * np.sqrt((df + 1) / (df + 3))
        return [tangents["loc"] * precision, tangents["log_scale"] * np.sqrt(2 * df / (df + 3))]


@final
class Laplace(Likelihood):
    r""":math:`e^{-|x - loc| / scale} / (2\, scale)`.

    >>> standard = {"loc": np.zeros(1), "log_scale": np.zeros(1)}
    >>> Laplace().log_prob(np.zeros(1), standard).round(4).tolist()
    [-0.6931]
    """

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
        deviation = xp.abs(as_float(x, loc) - loc)
        return deviation * -xp.exp(-log_scale) - (log_scale + float(np.log(2)))

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        return [tangents["loc"] * np.exp(-parameters["log_scale"]), tangents["log_scale"]]
