r"""Log-likelihoods of some modalities given others, by importance sampling from the model's own posteriors.

.. math:: \log p(x_T \mid x_S) = \log p(x_T, x_S) - \log p(x_S)

both from the same draws, see ``models_store/evidence.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models_store.evidence import Evidence, Proposals, estimate, log_weights
from models_store.fusion import Gaussian
from training.mvae_config import chosen


@dataclass(frozen=True)
class Draws:
    """How many draws of z an estimate is made of.

    Arguments:
        count: All of them, K.
        at_once: How many are decoded together.
        generator: Where they come from.
        from_prior: How many of them are drawn from the prior.

    Raises:
        ValueError: A number is below 1.
    """

    count: int
    at_once: int
    generator: torch.Generator | None = None
    from_prior: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.at_once < 1:
            raise ValueError(f"K and batch_size_K must be at least 1, got {self.count} and {self.at_once}")


@dataclass(frozen=True)
class Question:
    """What log p(x_T | x_S) is estimated from.

    Arguments:
        posteriors: q(z | x_{T ∪ S}), and q(z | x_S) where S is not empty: each (n_data, D).
        present: Which of T, then of S, is observed in which row: (|T| + |S|, n_data).
        asked: |T|.
        log_probs: From z (K, n_data, D) to the log-likelihood of each of them, (K, n_data).
    """

    posteriors: Sequence[Gaussian]
    present: Tensor
    asked: int
    log_probs: Callable[[Tensor], Iterable[Tensor]]

    def evidence(self, draws: Draws) -> Evidence:
        """The log-likelihood of each row, of what it has of T given what it has of S."""
        proposals = Proposals(self.posteriors, draws.count, draws.from_prior)
        weights = []
        for source, count in zip(proposals.sources, proposals.counts, strict=True):
            for start in range(0, count, draws.at_once):
                shape = (min(draws.at_once, count - start), *source.mu.shape)
                noise = torch.randn(shape, generator=draws.generator)
                z = source.sample(noise.to(source.mu))
                pairs = list(zip(self.log_probs(z), self.present, strict=True))
                weights.append(log_weights(z, proposals, pairs[: self.asked], pairs[self.asked :]))
        return estimate(torch.cat(weights, dim=1), proposals)


def scored_and_given(
    modalities: Sequence[str], subset: str | Iterable[str], given: str | Iterable[str]
) -> tuple[list[str], list[str]]:
    """T and S of a question, in the order of the model; ``all`` of T is what is not given.

    Raises:
        ValueError: A modality is unknown, or both scored and given, or none is left to score.
    """
    condition = chosen(modalities, given)
    if subset == "all":
        target = [name for name in modalities if name not in condition]
    else:
        target = chosen(modalities, subset)
    both = [name for name in target if name in condition]
    if both:
        raise ValueError(f"'{both[0]}' is both scored and given")
    if not target:
        raise ValueError("no modality is left to score")
    return target, condition
