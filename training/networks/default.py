"""The networks of a modality for which none were passed in: fully connected."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from models_store.likelihoods import Bernoulli, Categorical, Likelihood
from training.networks.mlp import MLPDecoder, MLPEncoder
from training.networks.units import FillMissing, OneHot, Standardise

HIDDEN = (512, 512)
"""Widths of the hidden layers."""


def default_encoder(likelihood: Likelihood, shape: Sequence[int], latent_dim: int) -> MLPEncoder:
    """From rows of that shape, (classes,) for a category; NaN cells are filled and flagged."""
    features = math.prod(shape)
    inputs: nn.Module
    match likelihood:
        case Categorical():
            inputs = OneHot(features)
        case Bernoulli(low, high):
            inputs = Standardise(low, high - low)
        case _:
            inputs, features = FillMissing(Standardise()), 2 * features
    return MLPEncoder(inputs, features, HIDDEN, latent_dim)


def default_decoder(shape: Sequence[int], latent_dim: int) -> MLPDecoder:
    return MLPDecoder(latent_dim, HIDDEN, shape)
