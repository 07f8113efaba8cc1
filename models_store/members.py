r"""Layout of the latent space of an ensemble of models that are served as one.

Each of M models has a latent space of its own, of dimension d. The ensemble is their mixture:

.. math:: p(x) = \sum_{k=1}^{M} w_k \int N(z_k; 0, I) \, p_k(x \mid z_k) \, dz_k

It has the form of one MVAE with z of dimension M d + 1: the blocks :math:`z_1 \dots z_M`, and a last
coordinate u, of which M parts of probability :math:`w_k` under N(0, 1) choose the model whose decoders apply.
Experts are independent by block, so a product of experts is the product within each block; none knows u,
whose posterior is its prior.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from models_store.arrays import Array

MOST_MEMBERS = 16
"""Largest number M of models."""
LEAST_WEIGHT = 1e-3
"""Least weight of a model."""
TOLERANCE = 1e-6
"""How far the weights may be from a sum of 1."""
NORMAL = NormalDist()


@dataclass(frozen=True)
class Members:
    """The models of an ensemble, and their places in the joint z; a single model has all of z.

    Arguments:
        dimension: Latent dimension d of each.
        weights: Weight of each in the mixture, (M,).
    """

    dimension: int
    weights: Sequence[float] = (1.0,)

    @classmethod
    def of(cls, joint: int, count: int, weights: Sequence[float] = ()) -> Members:
        """The members of an ensemble of that joint latent dimension.

        Arguments:
            joint: Dimension D of the joint z.
            count: Number M of models.
            weights: Weight of each; none for equal ones.

        Raises:
            ValueError: No such ensemble has that joint latent dimension, or the weights are none of it.
        """
        weights = tuple(weights) or (1 / count,) * count
        if len(weights) != count:
            raise ValueError(f"weights has {len(weights)} numbers, but there are {count} members")
        if not min(weights) >= LEAST_WEIGHT or not abs(math.fsum(weights) - 1) <= TOLERANCE:  # NaN, too
            raise ValueError(
                f"weights must be at least {LEAST_WEIGHT} each and sum to 1, got {list(weights)}"
            )
        members = cls(joint if count == 1 else (joint - 1) // count, weights)
        if members.dimension < 1 or members.joint_dimension != joint:
            raise ValueError(f"latent_dim is {joint}, but {count} members need {count} times d, plus 1")
        return members

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def joint_dimension(self) -> int:
        """Dimension D of the joint z."""
        return self.dimension if len(self) == 1 else len(self) * self.dimension + 1

    @cached_property
    def _shares(self) -> Sequence[float]:
        """Probabilities at which the parts of u end, (M - 1,)."""
        return [*itertools.accumulate(self.weights)][:-1]

    @cached_property
    def edges(self) -> Sequence[float]:
        """Values of u above which the second model, the third, ... applies: (M - 1,)."""
        return [NORMAL.inv_cdf(share) for share in self._shares]

    @cached_property
    def centres(self) -> Sequence[float]:
        """A value of u at which each member applies: the median of its part."""
        starts = [0.0, *self._shares]
        return [NORMAL.inv_cdf(start + w / 2) for start, w in zip(starts, self.weights, strict=True)]

    def block(self, member: int) -> slice:
        """Coordinates of a member in the joint z."""
        return slice(member * self.dimension, (member + 1) * self.dimension)

    @cached_property
    def parts(self) -> Sequence[tuple[float, slice]]:
        """Weight of each member, and its coordinates in the joint z."""
        return [(weight, self.block(member)) for member, weight in enumerate(self.weights)]

    def selected(self, z: Array) -> Array:
        """Index of the member whose decoder applies at points of the joint z, (*, D): (*)."""
        return np.searchsorted(self.edges, z[..., -1])

    def placed(self, z: Array, member: int) -> Array:
        """Points of a member's latent space, (*, d), in the joint one, where its decoders apply: (*, D)."""
        points = np.zeros((*z.shape[:-1], self.joint_dimension), z.dtype)
        points[..., self.block(member)] = z
        points[..., -1] = self.centres[member]
        return points

    def one_a_draw(self, z: Array) -> Array:
        """Draws of the joint z, (n, K, D), of which each is decoded by one member for all rows."""
        if len(self) == 1:
            return z
        drawn = z.copy()
        drawn[..., -1] = np.take(self.centres, self.turns(z.shape[1]))
        return drawn

    def turns(self, draws: int) -> Sequence[int]:
        """Member of each of K draws; the first of them hold each member by its weight, to less than one draw.

        The next draw is of the member that has the fewest for its weight, as seats are given to parties.

        References:
            | https://en.wikipedia.org/wiki/Sainte-Lagu%C3%AB_method
        """
        weights, counts = np.array(self.weights), np.zeros(len(self))
        turns = []
        for _ in range(draws):
            member = int(np.argmax(weights / (counts + 0.5)))
            counts[member] += 1
            turns.append(member)
        return turns
