r"""Correlation between numbers that decoders leave, in ``residuals.npz``.

The cells of a decoder are independent given z. Where few rows or weak views leave correlation between them,
draws of whole rows would lack it. A factor model of the standardised residuals holds it:

.. math:: r = \frac{x - loc(z)}{scale(z)} = m + L u + s e, \quad u \sim N(0, I_k), \; e \sim N(0, I)

with the logarithm of x for ``log_normal``. Fitted to residuals at draws of z from q(z | x) of training rows,
it gives draws of x the mean and the covariance of these rows, provided that z is distributed by the prior
and loc(z) is the mean of x given z; this holds for a constant loc(z), too. Given the observed cells S of a
row, u is normal:

.. math:: u \mid r_S \sim N(C L_S^\top s_S^{-2} (r_S - m_S), C), \quad
    C = (I + L_S^\top \mathrm{diag}(s_S^{-2}) L_S)^{-1}

References:
    | Factor Analysis, Latent Variable Models: Bartholomew, Knott & Moustaki (2011), chapter 3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models_store import archives
from models_store.arrays import Array
from models_store.errors import BundleRefused
from models_store.likelihoods import Parameters
from models_store.manifest import Manifest, Modality
from models_store.members import Members

FILE = "residuals.npz"
MEMBERS = "members"
"""Entry of the file that says which members leave residuals."""
FAMILIES = ("normal", "log_normal")
"""Likelihoods whose cells have residuals: those with a normal scale."""


class Cells(NamedTuple):
    """Factor model of the D cells of one modality.

    Arguments:
        mean: m, (D,).
        loadings: L, (D, k).
        scale: s, (D,).
    """

    mean: Array
    loadings: Array
    scale: Array


class Factors(NamedTuple):
    """Normal distribution of u for n rows at K draws of z.

    Arguments:
        mean: (n, K, k).
        covariance: (n, k, k); zero where ``mean`` is a draw.
        applied: Mask of the draws whose member has residuals, (n, K).
    """

    mean: Array
    covariance: Array
    applied: Array

    def drawn(self, noise: Array) -> Factors:
        """Draws from it.

        Arguments:
            noise: Standard normal, (n, K, k).
        """
        root = np.linalg.cholesky(self.covariance)
        return self._replace(mean=self.mean + noise @ root.swapaxes(1, 2), covariance=0 * self.covariance)


@dataclass(frozen=True)
class Residuals:
    """Factor model of the residuals of all modalities in ``cells``, and the contents of the file.

    Arguments:
        cells: By modality.
        members: Mask of the members of an ensemble whose decoders leave them, (M,); None: all.
        mixture: The members; with a mask only.
    """

    cells: Mapping[str, Cells]
    members: Array | None = None
    mixture: Members | None = None

    @property
    def rank(self) -> int:
        """Number of factors, k."""
        return next(iter(self.cells.values())).loadings.shape[1]

    def factors(self, given: Mapping[str, Array], z: Array) -> Factors:
        """Distribution of u given the observed cells of each row.

        Arguments:
            given: Residuals by modality, (n, K, D), NaN where missing; see :func:`standardised`.
            z: Draws of z at which these are the residuals, (n, K, ·).
        """
        n, draws = z.shape[:2]
        applied = np.ones((n, draws), bool)
        if self.mixture is not None and self.members is not None:
            applied = self.members[self.mixture.selected(z)]
        precision = np.tile(np.eye(self.rank), (n, 1, 1))
        score = np.zeros((n, draws, self.rank))
        for name, residuals in given.items():
            mean, loadings, scale = self.cells[name]
            scaled = loadings / scale[:, None] ** 2
            seen = ~np.isnan(residuals[:, 0])
            precision += np.einsum("nd,dk,dl->nkl", seen, scaled, loadings, optimize=True)
            score += np.where(seen[:, None], residuals - mean, 0.0) @ scaled
        covariance = np.linalg.inv(precision)
        return Factors(score @ covariance, (covariance + covariance.swapaxes(1, 2)) / 2, applied)

    def applied(self, name: str, parameters: Parameters, factors: Factors) -> Parameters:
        """Parameters of a modality's cells given u, each with its own marginal spread.

        Arguments:
            name: Modality; one without residuals keeps its parameters.
            parameters: Outputs of its decoder, (n, K, D) each.
            factors: Distribution of u.
        """
        if name not in self.cells:
            return parameters
        mean, loadings, scale = self.cells[name]
        loc, log_scale = parameters["loc"], parameters["log_scale"]
        shift = mean + factors.mean @ loadings.T
        spread = np.einsum("dk,nkl,dl->nd", loadings, factors.covariance, loadings, optimize=True)
        widening = np.log(scale**2 + np.maximum(spread, 0.0)) / 2
        applied = factors.applied[..., None]
        return {
            "loc": loc + applied * np.exp(log_scale) * shift.astype(loc.dtype),
            "log_scale": log_scale + applied * widening[:, None].astype(log_scale.dtype),
        }

    def to_bytes(self) -> bytes:
        arrays = {
            f"{field}/{name}": value.astype(np.float32)
            for name, cells in self.cells.items()
            for field, value in cells._asdict().items()
        }
        if self.members is not None:
            arrays[MEMBERS] = self.members
        return archives.to_bytes(arrays)

    @classmethod
    def from_bytes(cls, content: bytes, manifest: Manifest) -> Residuals:
        """Reads and checks the file of a bundle.

        Raises:
            BundleRefused: It is no archive of arrays, or does not fit the model; the text names the entry.
        """
        arrays = dict(archives.from_bytes(content, FILE))
        members = arrays.pop(MEMBERS, None)
        if members is not None and (members.dtype != bool or members.shape != (manifest.members,)):
            raise BundleRefused(
                f"{FILE}: '{MEMBERS}' must say of each of {manifest.members} members true or false"
            )
        loadings = {
            key.removeprefix("loadings/"): one for key, one in arrays.items() if key.startswith("loadings/")
        }
        ranks = {one.shape[1:] for one in loadings.values()}
        if len(ranks) != 1 or len(rank := ranks.pop()) != 1:
            raise BundleRefused(f"{FILE}: all loadings must have the shape (cells, factors)")
        cells = {name: _checked(arrays, name, manifest, *rank) for name in loadings}
        for key in arrays.keys() - {f"{field}/{name}" for name in cells for field in Cells._fields}:
            raise BundleRefused(f"{FILE}: '{key}' is no entry of a modality")
        return cls(cells, members, None if members is None else manifest.mixture)


def _checked(arrays: Mapping[str, Array], name: str, manifest: Manifest, rank: int) -> Cells:
    if name not in manifest.names or not has_residuals(manifest.modality(name)):
        raise BundleRefused(f"{FILE}: '{name}', but the model has no such vector of {' or '.join(FAMILIES)}")
    (size,) = manifest.modality(name).shape
    expected = {"mean": (size,), "loadings": (size, rank), "scale": (size,)}
    for field, shape in expected.items():
        key = f"{field}/{name}"
        array = arrays.get(key)
        if array is None or array.shape != shape:
            raise BundleRefused(f"{FILE}: '{key}' must have the shape {shape}")
        if not (np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all()):
            raise BundleRefused(f"{FILE}: '{key}' must hold finite numbers")
    if (arrays[f"scale/{name}"] <= 0).any():
        raise BundleRefused(f"{FILE}: 'scale/{name}' must be above 0")
    return Cells(*(arrays[f"{field}/{name}"].astype(np.float64) for field in Cells._fields))


def has_residuals(modality: Modality) -> bool:
    """Whether the cells of a modality have residuals: a vector of one of :data:`FAMILIES`."""
    return modality.kind == "vector" and modality.likelihood in FAMILIES


def standardised(modality: Modality, x: Array, parameters: Parameters) -> Array:
    """Residuals of observed cells at draws of z, (n, K, D), NaN where missing.

    Arguments:
        modality: Modality of the rows; see :func:`has_residuals`.
        x: Rows, (n, D), NaN where missing.
        parameters: Outputs of its decoder, (n, K, D) each.
    """
    values = x.astype(np.float64)
    if modality.likelihood == "log_normal":
        values = np.log(np.where(values > 0, values, np.nan))
    residuals: Array = (values[:, None] - parameters["loc"]) * np.exp(-parameters["log_scale"])
    return residuals
