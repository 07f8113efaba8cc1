r"""Layout of the latent space of an ensemble of models that are served as one.

Each of M models has a latent space of its own, of dimension d. The ensemble is their mixture:

.. math:: p(x) = \frac{1}{M} \sum_{k=1}^{M} \int N(z_k; 0, I) \, p_k(x \mid z_k) \, dz_k

It has the form of one MVAE with z of dimension M d + 1: the blocks :math:`z_1 \dots z_M`, and a last
coordinate u, of which the M parts of equal probability under N(0, 1) choose the model whose decoders apply.
Experts are independent by block, so a product of experts is the product within each block; none knows u,
whose posterior is its prior.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from models_store.arrays import Array

MOST_MEMBERS = 16
"""Largest number M of models."""
NORMAL = NormalDist()


def joint_dimension(dimension: int, members: int) -> int:
    """Latent dimension of an ensemble of models of latent dimension d; d itself for one model."""
    return dimension if members == 1 else members * dimension + 1


def member_dimension(joint: int, members: int) -> int:
    """Latent dimension d of a member.

    Raises:
        ValueError: No such ensemble has that joint latent dimension.
    """
    dimension = joint if members == 1 else (joint - 1) // members
    if dimension < 1 or joint_dimension(dimension, members) != joint:
        raise ValueError(f"latent_dim is {joint}, but {members} members need {members} times d, plus 1")
    return dimension


def edges(members: int) -> list[float]:
    """Values of u above which the second model, the third, ... applies: (M - 1)."""
    return [NORMAL.inv_cdf(k / members) for k in range(1, members)]


def block(member: int, joint: int, members: int) -> slice:
    """Coordinates of a member in the joint z."""
    dimension = member_dimension(joint, members)
    return slice(member * dimension, (member + 1) * dimension)


def centre(member: int, members: int) -> float:
    """A value of u at which a member applies: the median of its part."""
    return NORMAL.inv_cdf((member + 0.5) / members)


def selected(z: Array, members: int) -> Array:
    """Index of the member whose decoder applies at points of the joint z, (*, D): (*)."""
    return np.searchsorted(edges(members), z[..., -1])


def placed(z: Array, member: int, members: int) -> Array:
    """Points of a member's latent space, (*, d), in that of the ensemble, whose decoders are then its own."""
    joint = joint_dimension(z.shape[-1], members)
    points = np.zeros((*z.shape[:-1], joint), z.dtype)
    points[..., block(member, joint, members)] = z
    points[..., -1] = centre(member, members)
    return points


def one_member_a_draw(z: Array, members: int) -> Array:
    """Draws of an ensemble, (n, K, D), of which each member in turn decodes one of all rows."""
    if members == 1:
        return z
    drawn = z.copy()
    drawn[..., -1] = [centre(draw % members, members) for draw in range(z.shape[1])]
    return drawn
