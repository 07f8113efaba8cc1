r"""Log-likelihoods of some modalities given others, by importance sampling from the model's posteriors.

.. math:: \log p(x_T \mid x_S) = \log p(x_T, x_S) - \log p(x_S)

both from the same draws, see ``models_store/evidence.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models_store.evidence import Evidence, Proposals, defensive, estimate, log_weights
from models_store.fusion import Gaussian
from training.mvae_config import select


@dataclass(frozen=True)
class Draws:
    """Number and source of the draws of z of an estimate.

    Arguments:
        count: Number of draws, K.
        at_once: Number of draws that are decoded together.
        generator: Source of the draws.
        propose: Maps posteriors and the number of draws to the distributions that the draws come from.

    Raises:
        ValueError: A number is below 1.
    """

    count: int
    at_once: int
    generator: torch.Generator | None = None
    propose: Callable[[Sequence[Gaussian], int], Proposals] = defensive

    def __post_init__(self) -> None:
        if self.count < 1 or self.at_once < 1:
            raise ValueError(f"K and batch_size_K must be at least 1, got {self.count} and {self.at_once}")


@dataclass(frozen=True)
class Conditional:
    """The distribution p(x_T | x_S) of a batch, as an estimate of its log-density needs it.

    Arguments:
        posteriors: q(z | x_{T ∪ S}), and q(z | x_S) where S is not empty: each (n_data, D).
        present: Whether a row has each modality of T, then of S: (|T| + |S|, n_data).
        n_targets: |T|.
        log_probs: Maps z (K, n_data, D) to the log-likelihood of each modality of T, then of S: (K, n_data).
    """

    posteriors: Sequence[Gaussian]
    present: Tensor
    n_targets: int
    log_probs: Callable[[Tensor], Iterable[Tensor]]

    def evidence(self, draws: Draws) -> Evidence:
        """log p(x_T | x_S) of each row, T and S each intersected with the modalities of the row."""
        proposals = draws.propose(self.posteriors, draws.count)
        weights = []
        for z in proposals.sample(self._noise(draws.generator), draws.at_once):
            pairs = list(zip(self.log_probs(z), self.present, strict=True))
            weights.append(log_weights(z, proposals, pairs[: self.n_targets], pairs[self.n_targets :]))
        return estimate(torch.cat(weights, dim=1), proposals)

    def _noise(self, generator: torch.Generator | None) -> Callable[[int], Tensor]:
        mu = self.posteriors[0].mu
        return lambda count: torch.randn((count, *mu.shape), generator=generator).to(mu)


def scored_and_given(
    modalities: Sequence[str], subset: str | Iterable[str], given: str | Iterable[str]
) -> tuple[list[str], list[str]]:
    """T and S in the order of the model; ``all`` for T stands for every modality that is not in S.

    Raises:
        ValueError: A modality is unknown, or both scored and given, or none is left to score.
    """
    condition = select(modalities, given)
    if subset == "all":
        target = [name for name in modalities if name not in condition]
    else:
        target = select(modalities, subset)
    both = [name for name in target if name in condition]
    if both:
        raise ValueError(f"'{both[0]}' is both scored and given")
    if not target:
        raise ValueError("no modality is left to score")
    return target, condition
