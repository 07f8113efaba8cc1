r"""Latent space of a bundle, in ``latent.npz``: a second prior, and a map to draw it on.

The prior is a Gaussian mixture, fitted to the aggregate posterior :math:`E_x \, q(z \mid x)`, which the
standard normal only approximates.

.. math:: p(z) = \sum_c \pi_c \, \mathcal N(z; m_c, L_c L_c^\top)

The map is linear, :math:`(z - o) A^\top` with two axes, so that a normal distribution over z is an ellipse
on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models_store import archives
from models_store.arrays import Array
from models_store.errors import BundleRefused
from models_store.manifest import Manifest

FILE = "latent.npz"
MOST_POINTS = 100_000
"""Most held-out rows on the map, which is one response."""
LABELS = "labels."
"""Prefix of the name of a category in the file."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of C normal distributions with full covariances.

    Arguments:
        weights: The share of each component, (C,), summing up to 1.
        means: (C, D).
        factors: The lower Cholesky factors of the covariances, (C, D, D).
    """

    weights: Array
    means: Array
    factors: Array

    def sample(self, uniform: Array, noise: Array) -> Array:
        """Turn uniform and normal draws into draws of z, (*, D).

        Arguments:
            uniform: Uniform on [0, 1), (*); selects the component.
            noise: Standard normal, (*, D); selects the place in the component.
        """
        components = np.searchsorted(np.cumsum(self.weights)[:-1], uniform, side="right")
        z = np.empty_like(noise)
        for component in np.unique(components):
            here = components == component
            z[here] = self.means[component] + noise[here] @ self.factors[component].T
        return z


@dataclass(frozen=True)
class Map:
    """Two axes through the latent space, and the positions of held-out rows.

    Arguments:
        axes: (2, D), of length 1 and at a right angle.
        centre: The origin of the map, (D,).
        points: Posterior means of held-out rows, (n, 2); n = 0 where a model must not publish real rows.
        labels: Index of each point's label by category, (n,); -1 where the row has none.
    """

    axes: Array
    centre: Array
    points: Array
    labels: Mapping[str, Array]

    def project(self, z: Array) -> Array:
        """Where z of shape (*, D) lies: (*, 2)."""
        return (z - self.centre) @ self.axes.T


@dataclass(frozen=True)
class Latent:
    """The contents of ``latent.npz``."""

    mixture: Mixture
    map: Map

    def to_bytes(self) -> bytes:
        mixture, drawn = self.mixture, self.map
        numbers = {"weights": mixture.weights, "means": mixture.means, "factors": mixture.factors}
        numbers |= {"axes": drawn.axes, "centre": drawn.centre, "points": drawn.points}
        arrays = {name: array.astype(np.float32) for name, array in numbers.items()}
        arrays |= {LABELS + name: index.astype(np.int64) for name, index in drawn.labels.items()}
        return archives.to_bytes(arrays)

    @classmethod
    def from_bytes(cls, content: bytes, manifest: Manifest) -> Latent:
        """Reads and checks the file of a bundle.

        Raises:
            BundleRefused: It is no archive of arrays, or does not fit the model; the text says what.
        """
        arrays = _read(content)
        mixture = Mixture(arrays["weights"], arrays["means"], arrays["factors"])
        labels = {key.removeprefix(LABELS): value for key, value in arrays.items() if key.startswith(LABELS)}
        latent = cls(mixture, Map(arrays["axes"], arrays["centre"], arrays["points"], labels))
        _check_shapes(latent, manifest.latent_dim)
        _check_values(latent, manifest)
        return latent


def _read(content: bytes) -> dict[str, Array]:
    arrays = archives.from_bytes(content, FILE)
    for name in ("weights", "means", "factors", "axes", "centre", "points"):
        if name not in arrays:
            raise BundleRefused(f"{FILE}: '{name}' is missing")
        if not (np.issubdtype(arrays[name].dtype, np.floating) and np.isfinite(arrays[name]).all()):
            raise BundleRefused(f"{FILE}: '{name}' must hold finite numbers")
    return arrays


def _check_shapes(latent: Latent, dimension: int) -> None:
    mixture, drawn = latent.mixture, latent.map
    components, points = len(np.atleast_1d(mixture.weights)), len(np.atleast_1d(drawn.points))
    expected: dict[str, tuple[Array, tuple[int, ...]]] = {
        "weights": (mixture.weights, (components,)),
        "means": (mixture.means, (components, dimension)),
        "factors": (mixture.factors, (components, dimension, dimension)),
        "axes": (drawn.axes, (2, dimension)),
        "centre": (drawn.centre, (dimension,)),
        "points": (drawn.points, (points, 2)),
        **{LABELS + name: (index, (points,)) for name, index in drawn.labels.items()},
    }
    if points > MOST_POINTS:
        raise BundleRefused(f"{FILE}: 'points' has {points} rows, and may have {MOST_POINTS}")
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise BundleRefused(f"{FILE}: '{name}' has the shape {array.shape}, not {shape}")


def _check_values(latent: Latent, manifest: Manifest) -> None:
    weights = latent.mixture.weights
    if (weights < 0).any() or abs(float(weights.sum()) - 1) > 1e-3:
        raise BundleRefused(f"{FILE}: 'weights' must be shares of 1, they sum up to {weights.sum():g}")
    for name, index in latent.map.labels.items():
        labels = manifest.modality(name).labels if name in manifest.names else None
        if labels is None:
            raise BundleRefused(f"{FILE}: '{LABELS}{name}', but the model has no such category")
        if index.dtype != np.int64 or ((index < -1) | (index >= len(labels))).any():
            raise BundleRefused(f"{FILE}: '{LABELS}{name}' must hold indices of labels, or -1")
