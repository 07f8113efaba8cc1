r"""Log-likelihoods of some modalities given others, by importance sampling from the model's own posteriors.

.. math:: \log p(x_T \mid x_S) = \log p(x_T, x_S) - \log p(x_S)

the first from :math:`q(z \mid x_{T \cup S})` and, with draws of their own, the second from
:math:`q(z \mid x_S)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models_store.evidence import Evidence, difference, evidence, log_weights
from models_store.fusion import Gaussian
from training.mvae_config import chosen


@dataclass(frozen=True)
class Draws:
    """How many draws of z an estimate is made of.

    Arguments:
        count: All of them, K.
        at_once: How many are decoded together.
        generator: Where they come from.

    Raises:
        ValueError: A number is below 1.
    """

    count: int
    at_once: int
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or self.at_once < 1:
            raise ValueError(f"K and batch_size_K must be at least 1, got {self.count} and {self.at_once}")


@dataclass(frozen=True)
class Together:
    """What the likelihood of some modalities together is estimated from.

    Arguments:
        posterior: q(z | x) given these modalities: (n_data, D).
        present: Which of them is observed in which row: (|S|, n_data).
        log_probs: From z (K, n_data, D) to the log-likelihood of each of them, (K, n_data).
    """

    posterior: Gaussian
    present: Tensor
    log_probs: Callable[[Tensor], Iterable[Tensor]]

    def evidence(self, draws: Draws) -> Evidence:
        """The log-likelihood of each row, of what it has of these modalities."""
        weights = []
        for start in range(0, draws.count, draws.at_once):
            shape = (min(draws.at_once, draws.count - start), *self.posterior.mu.shape)
            noise = torch.randn(shape, generator=draws.generator)
            z = self.posterior.sample(noise.to(self.posterior.mu))
            weights.append(log_weights(z, self.posterior, zip(self.log_probs(z), self.present, strict=True)))
        return evidence(torch.cat(weights))


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


def conditional(whole: Evidence, part: Evidence, asked: Tensor, draws: Draws) -> Evidence:
    """log p(x_T | x_S); a row that has nothing of T (not ``asked``, (n_data,)) scores 0, exactly."""
    score = difference(whole, part)
    return Evidence(
        log_prob=torch.where(asked, score.log_prob, 0.0),
        std_error=torch.where(asked, score.std_error, 0.0),
        ess=torch.where(asked, score.ess, float(draws.count)),
    )
