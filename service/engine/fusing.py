"""Requests for posteriors and their results: experts, the draws to make, the posterior, its explanation."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import NamedTuple

from models_store.arrays import Array
from models_store.linear import Posterior


class Expert(NamedTuple):
    """Expert q(z | x_m) of the rows that have modality m.

    Arguments:
        mu: Mean, (rows that have it, D).
        log_var: Logarithm of the variance, same shape.
        present: Mask of those rows, boolean (n,); None for all.
        natural: Natural parameters of the linear models' expert, (rows that have it, numbers); None where
            the model has none.
    """

    mu: Array
    log_var: Array
    present: Array | None
    natural: Array | None = None


class FusionRequest(NamedTuple):
    """Experts of one request, to be fused, and the draws to make.

    Arguments:
        experts: Experts of the condition by modality; filled as they are computed.
        n: Number of rows.
        draws: Number N of draws of z per row.
        seed: Seed of the draws.
        first_row: Index of the first row in the request.
        return_mean: Whether to return N copies of the mean instead of draws.
        explained: Whether to compute the explanation.
    """

    experts: MutableMapping[str, Expert]
    n: int
    draws: int
    seed: int
    first_row: int = 0
    return_mean: bool = False
    explained: bool = False


class Explanation(NamedTuple):
    """Contributions to posteriors, and how informative and consistent they are.

    Of an ensemble they are means over its models, by their weights.

    Arguments:
        contributions: Share of the prior, then of each modality, in the posterior precision, (M + 1, n).
        information: KL divergence from the prior in nats, (n,).
        disagreement: Disagreement between the experts in nats, (n,).
    """

    contributions: Array
    information: Array
    disagreement: Array


class FusionResult(NamedTuple):
    """Posterior of the rows of one request, and draws from it.

    Arguments:
        mu: Posterior mean, (n, D).
        log_var: Logarithm of the posterior variance, (n, D).
        z: Draws, (n, N, D).
        explanation: Explanation of the posterior; None unless requested.
        factor: See :class:`Posterior`.
        block: See :class:`Posterior`.
    """

    mu: Array
    log_var: Array
    z: Array
    explanation: Explanation | None = None
    factor: Array | None = None
    block: slice | None = None

    @property
    def posterior(self) -> Posterior:
        return Posterior(self.mu, self.log_var, self.factor, self.block)
