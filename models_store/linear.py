r"""Posteriors of the linear models of an ensemble, whose experts are normal with a full covariance.

The expert of a view of a factor analysis, x = W z + e with e ~ N(0, Ψ), is known by its natural parameters

.. math:: q_m(z \mid x_m) \propto e^{s_m^T z - z^T \Lambda_m z / 2}, \quad
    s_m = W_m^T \Psi_m^{-1} x_m, \quad \Lambda_m = W_m^T \Psi_m^{-1} W_m

of the cells that are observed. Those of several views add up, and so the product with the prior is exact:

.. math:: q(z \mid x_A) = N(\Sigma s, \Sigma), \quad s = \sum_{m \in A} s_m, \quad
    \Sigma^{-1} = I + \sum_{m \in A} \Lambda_m

A diagonal expert forgets how a view ties the dimensions of z to each other, which the product then lacks.

References:
    | The EM algorithm for mixtures of factor analyzers (Ghahramani & Hinton, 1996), equation 1
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from models_store.arrays import Array
from models_store.fusion import Gaussian, product
from models_store.members import Members

NATURAL = "natural"
"""Name of the output of an encoder that has the natural parameters of its linear expert."""
NUMBERS_AT_ONCE = 2**18
"""Numbers of the covariances that are inverted at a time."""


def natural_size(dimension: int) -> int:
    """Natural parameters of k dimensions: s, (k,), and the lower triangle of Λ, row by row."""
    return dimension * (dimension + 3) // 2


class EncoderOutput(NamedTuple):
    """The outputs of an encoder for n rows.

    Arguments:
        mu: Mean, (n, D).
        log_var: Logarithm of the variance, same shape.
        natural: Natural parameters of the linear experts, (n, L k (k + 3) / 2); None where there are none.
    """

    mu: Array
    log_var: Array
    natural: Array | None = None


@dataclass(frozen=True)
class Posterior:
    """A normal distribution of arrays of numpy, of independent dimensions but for those of linear models.

    Arguments:
        mu: Mean, (n, D).
        log_var: Logarithm of the variance of each dimension, same shape.
        factor: Cholesky factors of the correlations within the dimensions of each of L linear models,
            (n, L, k, k); None: all dimensions are independent.
        block: Dimensions of the linear models, which lie beside each other.
    """

    mu: Array
    log_var: Array
    factor: Array | None = None
    block: slice | None = None

    def __len__(self) -> int:
        return len(self.mu)

    def of(self, rows: slice) -> Posterior:
        """The posterior of some rows."""
        factor = None if self.factor is None else self.factor[rows]
        return Posterior(self.mu[rows], self.log_var[rows], factor, self.block)

    def within(self, dimensions: slice) -> Posterior:
        """The distribution of one model's dimensions."""
        mu, log_var = self.mu[:, dimensions], self.log_var[:, dimensions]
        linear = self.block or slice(0, 0)
        if self.factor is None or not linear.start <= dimensions.start < linear.stop:
            return Posterior(mu, log_var)
        k = mu.shape[1]
        number = (dimensions.start - linear.start) // k
        return Posterior(mu, log_var, self.factor[:, number : number + 1], slice(0, k))

    def correlated(self, noise: Array) -> Array:
        """Standard normal noise, (n, K, D), with the correlations of each row."""
        if self.factor is None:
            return noise
        moved, (n, count, k, _) = noise.copy(), self.factor.shape
        of_each = noise[..., self.block].reshape(n, -1, count, k)
        # Not a product of matrices, whose last digit depends on the number of draws.
        tied = np.einsum("nckl,nmcl->nmck", self.factor, of_each)
        moved[..., self.block] = tied.reshape(n, -1, count * k)
        return moved

    def sample(self, noise: Array) -> Array:
        """Draws of z for standard normal noise, both (n, K, D)."""
        return Gaussian(self.mu[:, None], self.log_var[:, None]).sample(self.correlated(noise))

    def kl_from_prior(self) -> Array:
        """The divergence KL(self || N(0, I)), in nats, (n,)."""
        wide = Gaussian(self.mu.astype(np.float64), self.log_var.astype(np.float64))
        independent: Array = wide.kl_from_prior()
        if self.factor is None:
            return independent
        # the logarithm of the determinant of the correlations is twice this sum
        tied = np.log(np.diagonal(self.factor, axis1=-2, axis2=-1).astype(np.float64))
        return np.maximum(independent - tied.sum(axis=(1, 2)), 0.0)


@dataclass(frozen=True)
class LinearModels:
    """The last of an ensemble's models, which are linear.

    Arguments:
        members: The models of the ensemble.
        count: Number L of linear models.
    """

    members: Members
    count: int = 1

    @property
    def dimension(self) -> int:
        """Dimension k of the z of each."""
        return self.members.dimension

    @cached_property
    def block(self) -> slice:
        """Their dimensions in the joint z."""
        first = len(self.members) - self.count
        return slice(self.members.block(first).start, len(self.members) * self.dimension)

    @property
    def natural_size(self) -> int:
        """Natural parameters of a row, of all of them."""
        return self.count * natural_size(self.dimension)

    def summed(self, rows: int, experts: Iterable[tuple[slice, Array | None, Array]]) -> Array:
        """Sums of the natural parameters of the experts of each row, (rows, L k (k + 3) / 2).

        Arguments:
            rows: Number of rows.
            experts: Ranges of rows, masks of those that have the modality (None: all), and the parameters of
                these.
        """
        total = np.zeros((rows, self.natural_size), np.float32)
        for span, present, natural in experts:
            total[span][... if present is None else present] += natural
        return total

    def posterior(self, independent: Gaussian, natural: Array) -> Posterior:
        """The posterior of n rows, with the exact one of each linear model.

        Arguments:
            independent: Product of the diagonal experts, (n, D).
            natural: Sum of the natural parameters of the experts that a row has, (n, L k (k + 3) / 2).
        """
        rows, k = len(natural), self.dimension
        natural = natural.reshape(rows * self.count, natural_size(k))
        step = max(1, NUMBERS_AT_ONCE // k**2)
        starts = range(0, max(1, len(natural)), step)
        parts = [_exact(natural[start : start + step], k) for start in starts]
        mean, log_variance, factor = (np.concatenate(part) for part in zip(*parts, strict=True))
        mu, log_var = independent.mu.copy(), independent.log_var.copy()
        mu[:, self.block] = mean.reshape(rows, self.count * k)
        log_var[:, self.block] = log_variance.reshape(rows, self.count * k)
        return Posterior(mu, log_var, factor.reshape(rows, self.count, k, k), self.block)


@dataclass(frozen=True)
class Experts:
    """Experts of M modalities for n rows.

    Arguments:
        mu: Means, (M, n, D).
        log_var: Logarithms of the variances, same shape.
        present: Which row has which modality, (M, n).
        natural: Natural parameters of each linear expert, (n, L k (k + 3) / 2); none where there are no such.
        linear: Place of the linear models in z.
    """

    mu: Array
    log_var: Array
    present: Array
    natural: Sequence[Array] = ()
    linear: LinearModels | None = None

    @classmethod
    def of(cls, experts: Sequence[EncoderOutput], present: Array, linear: LinearModels | None) -> Experts:
        mu, log_var = (np.stack(parts) for parts in list(zip(*experts, strict=True))[:2])
        natural = [one.natural for one in experts if one.natural is not None]
        if linear is not None and len(natural) < len(experts):
            raise ValueError(f"{len(experts) - len(natural)} of {len(experts)} experts lack '{NATURAL}'")
        return cls(mu, log_var, present, natural, linear)

    def product(self, present: Array | None = None, powers: Array | None = None) -> Posterior:
        """The posterior of every row.

        Arguments:
            present: Another mask of the experts to multiply, (M, n).
            powers: Power of each expert, (M, n); 1 by default.
        """
        present = self.present if present is None else present
        powers = np.ones(present.shape) if powers is None else powers
        log_var = (self.log_var - np.log(powers)[..., None]).astype(np.float32)
        independent = product(Gaussian(self.mu, log_var), present)
        if self.linear is None:
            return Posterior(*independent)
        weighed = zip(present, powers.astype(np.float32), self.natural, strict=True)
        parts = ((slice(None), here, (power[:, None] * x)[here]) for here, power, x in weighed)
        return self.linear.posterior(independent, self.linear.summed(present.shape[1], parts))


def _exact(natural: Array, k: int) -> tuple[Array, ...]:
    """Mean, logarithm of the variance, and Cholesky factor of the correlations of z, in float32.

    NaN for rows whose parameters are of no normal distribution, as a broken graph may give them.
    """
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            return _solved(natural, k)
    except np.linalg.LinAlgError:
        if len(natural) == 1:
            return tuple(np.full(shape, np.nan, np.float32) for shape in ((1, k), (1, k), (1, k, k)))
    parts = [_exact(natural[row : row + 1], k) for row in range(len(natural))]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _solved(natural: Array, k: int) -> tuple[Array, ...]:
    score, triangle = natural[:, :k].astype(np.float64), natural[:, k:]
    rows, columns = np.tril_indices(k)
    precision = np.zeros((len(natural), k, k))
    precision[:, rows, columns] = precision[:, columns, rows] = triangle
    covariance = np.linalg.inv(precision + np.eye(k))
    mean = (covariance @ score[..., None])[..., 0]
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    std = np.sqrt(variance)
    factor = np.linalg.cholesky(covariance / (std[:, :, None] * std[:, None]))
    return mean.astype(np.float32), np.log(variance).astype(np.float32), factor.astype(np.float32)
