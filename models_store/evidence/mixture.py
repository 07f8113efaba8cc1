"""The mixture from which the points of one row are drawn: fixed numbers from each of its sources."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Protocol

import numpy as np

from models_store.arrays import Array
from models_store.evidence.laplace import Peak
from models_store.fusion import LOG_2PI

Draw = Callable[[int], Array]
"""From a number to as many standard normal draws, (number, D)."""


class Source(Protocol):
    """A distribution to draw from and to weigh by."""

    def sample(self, noise: Draw, count: int) -> Array:
        """Draws of u, (count, D)."""

    def log_prob(self, u: Array) -> Array:
        """Log-density at u, (p, D), in nats: (p,)."""


@dataclass(frozen=True)
class Normal:
    """A normal distribution with diagonal covariance.

    Arguments:
        mu: Mean, (D,).
        std: Standard deviations, (D,).
    """

    mu: Array
    std: Array

    def sample(self, noise: Draw, count: int) -> Array:
        return self.mu + self.std * noise(count)

    def log_prob(self, u: Array) -> Array:
        squared = np.sum(((u - self.mu) / self.std) ** 2, axis=-1)
        return -(squared + len(self.mu) * LOG_2PI) / 2 - np.sum(np.log(self.std))


@dataclass(frozen=True)
class SplitNormal:
    r"""Independent split normals along orthonormal axes, from the mode of an integrand (Geweke, 1989).

    .. math:: p(y) = \frac{2}{\sqrt{2 \pi} (s_+ + s_-)} e^{-y^2 / (2 s_\pm^2)}

    Arguments:
        peak: Mode, axes and widths.
        stretch: Factor of the widths, which stay at most 1, the prior's.
    """

    peak: Peak
    stretch: float = 1.0

    def sample(self, noise: Draw, count: int) -> Array:
        from scipy.special import ndtri  # takes a quarter of the service's start, and few requests need it

        ahead, behind = self._sides()
        side, distance = np.moveaxis(noise(2 * count).reshape(count, 2, -1), 1, 0)
        # a side is drawn in proportion to its width
        y = np.where(side < ndtri(ahead / (ahead + behind)), ahead, -behind) * np.abs(distance)
        return self.peak.centre + y @ self.peak.axes.T

    def log_prob(self, u: Array) -> Array:
        ahead, behind = self._sides()
        y = (u - self.peak.centre) @ self.peak.axes
        squared = np.maximum(y, 0.0) ** 2 @ ahead**-2 + np.minimum(y, 0.0) ** 2 @ behind**-2
        return -(squared + len(ahead) * LOG_2PI) / 2 - np.sum(np.log((ahead + behind) / 2))

    def _sides(self) -> tuple[Array, Array]:
        ahead, behind = self.stretch * self.peak.ahead, self.stretch * self.peak.behind
        return np.minimum(ahead, 1.0), np.minimum(behind, 1.0)


@dataclass(frozen=True)
class Mixture:
    """Sources, and the number of draws from each.

    Arguments:
        sources: Parts of the mixture.
        counts: Draws from each part; K together.
    """

    sources: Sequence[Source]
    counts: Sequence[int]

    @property
    def draws(self) -> int:
        """Number of all draws, K."""
        return sum(self.counts)

    def sample(self, noise: Draw, at_once: int) -> Iterator[Array]:
        """All draws, source by source, in portions of at most ``at_once``: (portion, D) each."""
        stops = [*accumulate(self.counts)]
        for first in range(0, self.draws, at_once):
            shares = [
                (source, min(stop, first + at_once) - max(start, first))
                for source, start, stop in zip(self.sources, [0, *stops[:-1]], stops, strict=True)
            ]
            yield np.concatenate([source.sample(noise, share) for source, share in shares if share > 0])

    def log_prob(self, u: Array) -> Array:
        """Log-density of the mixture at u, (p, D), in nats: (p,)."""
        densities = [
            source.log_prob(u) + math.log(count / self.draws)
            for source, count in zip(self.sources, self.counts, strict=True)
            if count
        ]
        return reduce(np.logaddexp, densities)


def laplace_mixture(peak: Peak, posterior: Normal, draws: int) -> Mixture:
    """Nine tenths of the draws from the peak in two widths, the others from the encoders and the prior."""
    widths = [widened(posterior, width) for width in WIDTHS]
    from_prior, from_width = draws // 20, draws // 80
    rest = draws - from_prior - len(widths) * from_width
    return Mixture(
        [SplitNormal(peak), SplitNormal(peak, STRETCH), *widths, prior(posterior)],
        [rest - rest // 2, rest // 2, *[from_width] * len(widths), from_prior],
    )


def encoder_mixture(posterior: Normal, draws: int) -> Mixture:
    """Draws from the encoders' posterior in several widths, and a tenth from the prior.

    With fewer than 20 draws all come from the posterior as it is, since one draw alone has no spread.
    """
    from_prior, widths = (draws // 10, WIDTHS) if draws >= FEW else (0, WIDTHS[:1])
    each, more = divmod(draws - from_prior, len(widths))
    counts = [each + (index < more) for index in range(len(widths))]
    sources = [widened(posterior, width) for width in widths]
    return Mixture([*sources, prior(posterior)], [*counts, from_prior])


FEW = 20
"""Draws that are too few to be shared out."""
STRETCH = 1.25
"""Factor of the widths of the second part of the peak."""
WIDTHS = (1.0, 1.5, 2.0, 3.0)
"""Factors of the encoders' standard deviations, which an ELBO makes too small."""


def widened(posterior: Normal, width: float) -> Normal:
    """The distribution with so many times its standard deviations, where those are not above the prior's."""
    return Normal(posterior.mu, np.maximum(posterior.std, np.minimum(width * posterior.std, 1.0)))


def prior(like: Normal) -> Normal:
    """The standard normal of the same dimension."""
    return Normal(np.zeros_like(like.mu), np.ones_like(like.mu))
