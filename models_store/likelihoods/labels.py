"""Likelihoods of labels, and of values between two ends: categorical and Bernoulli."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from models_store.fusion import Array, array_namespace
from models_store.likelihoods.base import Likelihood, Parameters
from models_store.likelihoods.functions import as_float, odds_against, sigmoid, softplus


@final
@dataclass(frozen=True)
class Bernoulli(Likelihood):
    r""":math:`y \log p + (1 - y) \log (1 - p)`, :math:`y = (x - low) / (high - low)`; grey values welcome.

    Arguments:
        low: The value of x that stands for 0.
        high: The value of x that stands for 1.

    >>> Bernoulli(0, 255).mean({"logits": np.zeros(1)}).tolist()
    [127.5]
    """

    parameters = ("logits",)
    low: float = 0.0
    high: float = 1.0

    def mean(self, parameters: Parameters) -> Array:
        return self.low + (self.high - self.low) * sigmoid(parameters["logits"])

    def variance(self, parameters: Parameters) -> Array:
        against = odds_against(parameters["logits"])
        p = 1 / (1 + against)
        return (self.high - self.low) ** 2 * (against * p * p)

    def mixture_moments(self, parameters: Parameters) -> tuple[Array, Array]:
        """A mixture of Bernoulli distributions is one, whose variance follows from P(high) and P(low)."""
        against = odds_against(parameters["logits"])
        p = np.add(against, 1)
        np.divide(1, p, out=p)
        against *= p  # P(low): 1 - p has no digits left where p is nearly 1
        of_high, of_low = p.mean(axis=1), against.mean(axis=1)
        span = self.high - self.low
        return self.low + span * of_high, span**2 * (of_high * of_low)

    def mixture_quantiles(self, mean: Array, levels: Sequence[float]) -> Array:
        """A mixture of Bernoulli distributions is one: low where P(x = low) reaches the level."""
        of_low = (self.high - mean) / (self.high - self.low)
        reached = np.stack([level > of_low for level in levels], axis=1)
        return np.array([self.low, self.high], mean.dtype).take(reached)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        logits = parameters["logits"]
        ones = rng.random(logits.shape, logits.dtype) < sigmoid(logits)
        return np.array([self.low, self.high], logits.dtype).take(ones)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        logits = parameters["logits"]
        y = (as_float(x, logits) - self.low) / (self.high - self.low)
        return y * logits - softplus(logits)

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        against = odds_against(parameters["logits"])
        return [tangents["logits"] * (np.sqrt(against) / (1 + against))]


@final
class Categorical(Likelihood):
    r""":math:`p(x = c) = \operatorname{softmax}(logits)_c`; classes are the last axis, x an index.

    >>> Categorical().mean({"logits": np.log([[1.0, 3.0]])}).round(2).tolist()
    [[0.25, 0.75]]
    """

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
