"""Experts of views that are wrong lose weight in the product: a tempered expert.

A view is judged by its own reconstruction, log p(x_m | z) at the mean of q(z | x_m), beside those of held-out
rows (``calibration.npz``). A shifted or noisy picture is reconstructed badly, although its expert is sure.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import numpy as np

from models_store.arrays import Array
from models_store.calibration import Typical, expert_weights
from models_store.fusion import Gaussian, product
from service.engine.fusing import Expert
from service.engine.observations import Column


def mean_of(expert: Expert) -> Array:
    """Mean of q(z | x_m) of the rows that have the modality, (rows, D) in float32."""
    alone: Array = product(Gaussian(expert.mu[None], expert.log_var[None])).mu
    return alone.astype(np.float32)


def tempered(
    experts: Mapping[str, Expert],
    log_probs: Mapping[str, Array],
    typical: Mapping[str, Typical],
    columns: Mapping[str, Column],
) -> MutableMapping[str, Expert]:
    """The experts, each to the power of its weight.

    Arguments:
        experts: Experts of the condition by modality.
        log_probs: Log-likelihood of the own reconstruction of judged modalities, of the rows that have them.
        typical: Log-likelihoods of held-out rows.
        columns: Rows by modality.
    """
    names = list(experts)
    present = np.stack([columns[name].present for name in names])
    scores = np.zeros(present.shape)
    for name, values in log_probs.items():
        scores[names.index(name), columns[name].present] = typical[name].score(values)
    weights = expert_weights(scores, present)
    weakened: dict[str, Expert] = {}
    for name, weight in zip(names, weights, strict=True):
        expert = experts[name]
        powers = weight[columns[name].present]
        log_var = expert.log_var - np.log(powers)[:, None].astype(np.float32)
        natural = None if expert.natural is None else expert.natural * powers[:, None].astype(np.float32)
        whole = (powers == 1).all()
        weakened[name] = expert if whole else expert._replace(log_var=log_var, natural=natural)
    return weakened
