"""Encoders and decoders for one modality; they return parameters, never samples.

Inputs arrive in the user's own units and dtype; scaling and one-hot are modules of the network, so
that they are exported with it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models_store.manifest import Modality
from training.config import Network

ROWS_AT_ONCE = 4096
"""Rows of which the scales are computed together."""
LOG_VAR_BOUND = 12.0
"""|log sigma^2| of an expert stays below this: a variance of e^-12 is far below what any data resolves."""


class ModelOutput(dict[str, Any]):
    """Named outputs, readable as attributes too; the form of the reference library."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"no output '{name}'; there are {', '.join(self)}")
        return self[name]


class Standardise(nn.Module):
    """(x - shift) / scale, from any dtype to float32, flattened to (batch, features).

    Arguments:
        shift: What is taken off, broadcasting with one row of x.
        scale: What the rest is divided by.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor | float = 0.0, scale: Tensor | float = 1.0) -> None:
        super().__init__()
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return ((x.to(torch.float32) - self.shift) / self.scale).flatten(1)


class FillMissing(nn.Module):
    """NaN cells become 0 after standardising, and a flag beside each cell says so: twice the features."""

    def __init__(self, standardise: Standardise) -> None:
        super().__init__()
        self.standardise = standardise

    def forward(self, x: Tensor) -> Tensor:
        missing = torch.isnan(x)
        filled = torch.where(missing.flatten(1), 0.0, self.standardise(x))
        return torch.cat([filled, missing.flatten(1).to(torch.float32)], dim=1)


class OneHot(nn.Module):
    """An index of shape (batch,) to (batch, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(x.to(torch.int64), self.classes).to(torch.float32)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


def _layers(sizes: Sequence[int], activation: str) -> nn.Sequential:
    modules: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        modules += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*modules)


def soft_bound(raw: Tensor, bound: float = LOG_VAR_BOUND) -> Tensor:
    """The identity near 0, never beyond ±bound: no step of the optimizer can make a variance infinite."""
    return bound * torch.tanh(raw / bound)


class MLPEncoder(nn.Module):
    """Fully connected layers to the mean and log-variance of one expert.

    Arguments:
        inputs: Scales x and flattens it to (batch, features).
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
        self.layers = _layers(sizes, activation)
        self.head = nn.Linear(sizes[-1], 2 * latent_dim)

    def forward(self, x: Tensor) -> ModelOutput:
        mu, log_var = self.head(self.layers(self.inputs(x))).chunk(2, dim=1)
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
        self.layers = _layers(sizes, activation)
        self.head = nn.Linear(sizes[-1], math.prod(self.shape))
        self.outputs = outputs

    def forward(self, z: Tensor) -> ModelOutput:
        raw = self.head(self.layers(z)).unflatten(1, self.shape)
        return ModelOutput(reconstruction=raw) if self.outputs is None else self.outputs(raw)


class InUnits(nn.Module):
    """Location and learned scale of a standardised quantity, back in the user's units.

    Arguments:
        shift: As in ``Standardise``.
        scale: As in ``Standardise``.
        shape: One learned log-scale per cell of this shape.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor, scale: Tensor, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        self.log_scale = nn.Parameter(torch.zeros(tuple(shape)))

    def forward(self, raw: Tensor) -> ModelOutput:
        log_scale = soft_bound(self.log_scale) + torch.log(self.scale)
        return ModelOutput(reconstruction=self.shift + self.scale * raw, log_scale=log_scale.expand_as(raw))


def networks_for(
    modality: Modality, network: Network, latent_dim: int, x: Tensor
) -> tuple[MLPEncoder, MLPDecoder]:
    """An encoder and a decoder for one modality, in its own units.

    Arguments:
        modality: What goes in and comes out.
        network: The hidden layers; the decoder has them in reverse.
        latent_dim: The dimension of z.
        x: Training rows, (n, *shape), NaN where missing; they give the scale where no range does.
    """
    inputs, features, outputs = _ends(modality, x)
    shape = modality.parameter_shape()
    encoder = MLPEncoder(inputs, features, network.hidden, latent_dim, network.activation)
    decoder = MLPDecoder(latent_dim, network.hidden[::-1], shape, network.activation, outputs)
    return encoder, decoder


def _ends(modality: Modality, x: Tensor) -> tuple[nn.Module, int, nn.Module | None]:
    """What scales the inputs, how many features it gives, and what brings outputs back to units."""
    cells = math.prod(modality.shape)
    if modality.labels:
        return OneHot(len(modality.labels)), len(modality.labels), None
    if modality.likelihood == "bernoulli":
        low, high = modality.range or (0.0, 1.0)
        return Standardise(low, high - low), cells, None
    shift, scale = column_scales(x)
    fill = FillMissing(Standardise(shift, scale))
    outputs = InUnits(shift.clone(), scale.clone(), modality.shape)  # weights are stored unshared
    may_be_missing = modality.kind in {"vector", "counts"} and x.is_floating_point()
    return (fill, 2 * cells, outputs) if may_be_missing else (fill.standardise, cells, outputs)


def column_scales(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each cell over the rows that have it; a constant cell has scale 1."""
    mean = _nanmean(x, lambda values: values)
    deviation = _nanmean(x, lambda values: (values - mean).square()).sqrt()
    usable = deviation.isfinite() & (deviation > 0)
    return mean.nan_to_num().float(), torch.where(usable, deviation, 1.0).float()


def _nanmean(x: Tensor, quantity: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean over rows of a quantity of each cell, some rows at a time: x may be larger than memory."""
    total, count = torch.zeros((2, *x.shape[1:]), dtype=torch.float64)
    for start in range(0, len(x), ROWS_AT_ONCE):
        cells = quantity(x[start : start + ROWS_AT_ONCE].to(torch.float64))
        total += cells.nansum(dim=0)
        count += (~cells.isnan()).sum(dim=0)
    return total / count
