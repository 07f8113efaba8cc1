"""The default networks of MultiVae, rebuilt with the same names of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from training.networks.outputs import ModelOutput

WIDTH = 512


class ReferenceEncoder(nn.Module):
    """Two hidden layers; the log-variance as it comes.

    Arguments:
        shape: The shape of one row.
        latent_dim: The dimension of z.
    """

    def __init__(self, shape: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        sizes = ((math.prod(shape), WIDTH), (WIDTH, WIDTH))
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(*size), nn.ReLU()) for size in sizes)
        self.embedding = nn.Linear(WIDTH, latent_dim)
        self.log_var = nn.Linear(WIDTH, latent_dim)

    def forward(self, x: Tensor) -> ModelOutput:
        hidden = x.flatten(1)
        for layer in self.layers:
            hidden = layer(hidden)
        return ModelOutput(embedding=self.embedding(hidden), log_covariance=self.log_var(hidden))


class ReferenceDecoder(nn.Module):
    """One hidden layer and a sigmoid, for every likelihood.

    Arguments:
        shape: The shape of one row.
        latent_dim: The dimension of z.
    """

    def __init__(self, shape: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.layers = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(latent_dim, WIDTH), nn.ReLU()),
                nn.Sequential(nn.Linear(WIDTH, math.prod(shape)), nn.Sigmoid()),
            ]
        )

    def forward(self, z: Tensor) -> ModelOutput:
        hidden = z
        for layer in self.layers:
            hidden = layer(hidden)
        return ModelOutput(reconstruction=hidden.reshape(-1, *self.shape))
