"""Fully connected networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from training.networks.outputs import ModelOutput, soft_bound

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


def layers(sizes: Sequence[int], activation: str) -> nn.Sequential:
    modules: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        modules += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*modules)


class MLPEncoder(nn.Module):
    """Fully connected layers to the mean and log-variance of one expert.

    Arguments:
        inputs: Scales x; what it gives is flattened to (batch, features).
        features: What ``inputs`` gives.
        hidden: The widths of the hidden layers.
        latent_dim: The dimension of z.
        activation: A key of ``ACTIVATIONS``.
    """

    def __init__(
        self,
        inputs: nn.Module,
        features: int,
        hidden: Sequence[int],
        latent_dim: int,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        sizes = [features, *hidden]
        self.latent_dim = latent_dim
        self.inputs = inputs
        self.layers = layers(sizes, activation)
        self.head = nn.Linear(sizes[-1], 2 * latent_dim)

    def forward(self, x: Tensor) -> ModelOutput:
        mu, log_var = self.head(self.layers(self.inputs(x).flatten(1))).chunk(2, dim=1)
        return ModelOutput(embedding=mu, log_covariance=soft_bound(log_var))


class MLPDecoder(nn.Module):
    """Fully connected layers from z to the first parameter of a likelihood (logits, loc, …).

    Arguments:
        latent_dim: The dimension of z.
        hidden: The widths of the hidden layers.
        shape: The shape of one row of the parameter; for a category, (classes,).
        activation: A key of ``ACTIVATIONS``.
        outputs: Brings the last layer's (batch, *shape) to the user's units; may add further parameters.
    """

    def __init__(
        self,
        latent_dim: int,
        hidden: Sequence[int],
        shape: Sequence[int],
        activation: str = "relu",
        outputs: nn.Module | None = None,
    ) -> None:
        super().__init__()
        sizes = [latent_dim, *hidden]
        self.shape = tuple(shape)
        self.layers = layers(sizes, activation)
        self.head = nn.Linear(sizes[-1], math.prod(self.shape))
        self.outputs = outputs

    def forward(self, z: Tensor) -> ModelOutput:
        raw = self.head(self.layers(z)).unflatten(1, self.shape)
        return ModelOutput(reconstruction=raw) if self.outputs is None else self.outputs(raw)
