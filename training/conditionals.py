r"""Log-likelihoods of some modalities, given others or not, see ``models_store/evidence``.

.. math::

    \log p(x_T) = \log \int N(z; 0, I) \, p(x_T \mid z) \, dz, \qquad
    \log p(x_T \mid x_S) := \log \int q(z \mid x_S) \, p(x_T \mid z) \, dz
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from models_store.arrays import Array
from models_store.evidence import Evidence, Noise, Question, Target, answered, estimating, laplace, plain
from models_store.evidence.mixture import Draw
from models_store.fusion import Gaussian, standard_normal
from models_store.likelihoods import Parameters
from models_store.linear import Posterior
from training.coders import Coders
from training.draws import draw_normal, draw_seed
from training.mvae_config import select
from training.observations import Observations


@dataclass(frozen=True)
class Draws:
    """Number and source of the draws of z of an estimate.

    Arguments:
        count: Number of draws, K.
        at_once: Number of draws that are decoded together.
        generator: Source of the draws.
        as_multivae: Whether all draws come from q(z | x_S, x_T), from the same random numbers as in MultiVae.

    Raises:
        ValueError: A number is below 1.
    """

    count: int
    at_once: int
    generator: torch.Generator | None = None
    as_multivae: bool = False

    def __post_init__(self) -> None:
        if self.count < 1 or self.at_once < 1:
            raise ValueError(f"K and batch_size_K must be at least 1, got {self.count} and {self.at_once}")

    def noise(self, rows: int, dimension: int) -> Noise:
        """Sources of standard normal draws, one per row."""
        if self.as_multivae:
            drawn = draw_normal((self.count, rows, dimension), self.generator).numpy(force=True)
            return [_replayed(drawn[:, row]) for row in range(rows)]
        seed = draw_seed(self.generator)
        return [_drawn(np.random.default_rng([seed, row]), dimension) for row in range(rows)]


def score(
    coders: Coders,
    observations: Observations,
    target: Sequence[str],
    condition: Sequence[str],
    draws: Draws,
) -> Evidence:
    """log p(x_T | x_S) of each row, T and S each intersected with the modalities of the row.

    Arguments:
        coders: The model.
        observations: The batch.
        target: Names of the modalities in T.
        condition: Names of those in S; none for log p(x_T).
        draws: Draws of z.

    Returns:
        Tensors (n_data,) on the device of the model.
    """
    posterior = coders.posterior(observations, [*target, *condition])
    given = coders.posterior(observations, condition) if condition else standard_normal(posterior.mu)
    targets = [_target(coders, observations, name) for name in target]
    question = Question(_arrays(given), _arrays(posterior), targets, coders.mixture)
    device = posterior.mu.device

    def decode(name: str, z: Array) -> Parameters:
        parameters = coders.parameters_of(name, torch.from_numpy(z).to(device))
        return {key: value.numpy(force=True) for key, value in parameters.items()}

    propose = plain if draws.as_multivae else laplace
    noise = draws.noise(len(posterior.mu), coders.mixture.dimension)
    estimate = answered(estimating(question, noise, draws.count, draws.at_once, propose), decode)
    return Evidence(**{key: torch.from_numpy(value).to(device) for key, value in vars(estimate).items()})


def _target(coders: Coders, observations: Observations, name: str) -> Target:
    present = observations.present[coders.modalities.index(name)].numpy(force=True)
    x = observations.values.get(name)
    rows = np.zeros((len(present), 0)) if x is None else x.numpy(force=True)
    return Target(name, coders.likelihoods[name], rows, present)


def _arrays(posterior: Gaussian) -> Posterior:
    return Posterior(*(tensor.numpy(force=True) for tensor in posterior))


def _drawn(rng: np.random.Generator, dimension: int) -> Draw:
    return lambda count: rng.standard_normal((count, dimension), np.float32)


def _replayed(drawn: Array) -> Draw:
    rest = iter(drawn)
    return lambda count: np.stack([*islice(rest, count)])


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
