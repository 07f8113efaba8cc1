r"""The weight of a linear model beside networks, by rows that neither has been fitted to.

Stacking of predictive distributions, p_1 of the linear model and p_2 of the networks: the weight w maximises
the mean over held-out rows, and over what is predicted of each from the rest of the row, of

.. math:: \log \left( w \, p_1(x_T \mid x_S) + (1 - w) \, p_2(x_T \mid x_S) \right)

by EM, from 1/2, with one prediction more for which either is right. T is each view that a row has, S all
others; and, of views whose cells are hidden in training, some cells given the rest of the row.

References:
    | Using stacking to average Bayesian predictive distributions (Yao, Vehtari, Simpson & Gelman, 2018)
    | https://doi.org/10.1214/17-BA1091
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor

from models_store.arrays import Array
from models_store.linear import EncoderOutput, Experts, LinearModels
from training.data.rows import Rows, with_hidden_cells
from training.factor_choice import HIDDEN
from training.model import MVAE

DRAWS = 100
"""Draws of z for each row."""
MOST_ROWS = 500
"""Most rows to predict."""
ROWS_AT_ONCE = 50
ITERATIONS = 200
"""Iterations of EM."""
LEAST, DIGITS = 0.01, 2
"""Least weight of either, and its digits."""


@dataclass(frozen=True)
class _Prediction:
    """What is predicted from what, of some rows.

    Arguments:
        name: View of which cells are predicted.
        target: Their values, (n, *shape), NaN in other cells.
        given: Values by view, NaN in the predicted cells.
        present: Which view is given, by view, boolean (n,).
    """

    name: str
    target: Tensor
    given: Mapping[str, Tensor]
    present: Mapping[str, Tensor]


def linear_weight(
    networks: Sequence[MVAE], linear: Sequence[MVAE], held_out: Sequence[Rows], seed: int
) -> float:
    """The weight of the linear model, at least ``LEAST``, at most 1 - ``LEAST``.

    Arguments:
        networks: Trained networks.
        linear: For each a linear model of the same training rows.
        held_out: For each, rows that neither has been fitted to.
        seed: Seed of the draws.
    """
    differences = [
        _log_density(linear_model, rows, seed) - _log_density(network, rows, seed)
        for network, linear_model, rows in zip(networks, linear, held_out, strict=True)
    ]
    return stacked_weight(np.concatenate(differences))


def stacked_weight(difference: Array) -> float:
    """The weight of the first of two models.

    Arguments:
        difference: Log-density of each prediction by the first model, less that by the second: (n,).
    """
    difference = difference[~np.isnan(difference)].astype(np.float64)
    weight = 0.5
    for _ in range(ITERATIONS):
        of_first = expit(difference + logit(weight))
        weight = (of_first.sum() + 1) / (len(difference) + 2)
    return round(min(max(float(weight), LEAST), 1 - LEAST), DIGITS)


@torch.no_grad()
def _log_density(model: MVAE, rows: Rows, seed: int) -> Array:
    """Logarithm of the mean of p(x_T | z) over draws of z from q(z | x_S), of every prediction: (·,)."""
    rng = np.random.default_rng(seed)
    rows = rows.take(torch.arange(min(len(rows), MOST_ROWS)))
    parts = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows.take(torch.arange(start, min(start + ROWS_AT_ONCE, len(rows))))
        for prediction in _predictions(model, some, np.random.default_rng([seed, start])):
            z = _draws(model, prediction, rng)
            log_prob = model.log_prob(prediction.name, prediction.target, z)
            parts.append((log_prob.logsumexp(dim=0) - math.log(DRAWS)).numpy())
    return np.concatenate(parts) if parts else np.zeros(0)


def _predictions(model: MVAE, rows: Rows, rng: np.random.Generator) -> Iterator[_Prediction]:
    names, n = [name for name in model.modalities if name in rows.data], len(rows)
    present = {name: rows.masks.get(name, torch.ones(n, dtype=torch.bool)) for name in names}
    for name in names:
        x, held = rows.data[name][present[name]], {key: mask[present[name]] for key, mask in present.items()}
        given = {key: rows.data[key][present[name]] for key in names}
        if not len(x):
            continue
        if len(names) > 1:
            yield _Prediction(name, x, given, held | {name: torch.zeros(len(x), dtype=torch.bool)})
        if name in (model.config.hidden_cells or {}):
            rest, target = with_hidden_cells(x, HIDDEN, rng)
            seen = ~rest.flatten(1).isnan().all(dim=1)
            yield _Prediction(name, target, given | {name: rest}, held | {name: seen})


def _draws(model: MVAE, prediction: _Prediction, rng: np.random.Generator) -> Tensor:
    """Draws of z, (K, n, D), given S."""
    experts, present = [], []
    for name, x in prediction.given.items():
        (mu, log_var), natural = model.encoded(name, x)
        of_linear = None if natural is None else natural.numpy()
        experts.append(EncoderOutput(mu.numpy(), log_var.numpy(), of_linear))
        present.append(prediction.present[name].numpy())
    linear = None if experts[0].natural is None else LinearModels(model.mixture)
    posterior = Experts.of(experts, np.stack(present), linear).product()
    noise = rng.standard_normal((len(prediction.target), DRAWS, model.latent_dim), np.float32)
    return torch.from_numpy(posterior.sample(noise).astype(np.float32)).transpose(0, 1)
