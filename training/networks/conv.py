"""Convolutional networks: over the plane of pictures and spectrograms, along points, through volumes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from training.networks.mlp import ACTIVATIONS, layers
from training.networks.outputs import ModelOutput, soft_bound

CONVOLUTIONS: Mapping[int, tuple[Any, Any]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}
"""By number of convolved axes, down and up."""


class ConvEncoder(nn.Module):
    """Convolutions of stride 2, then fully connected layers to the mean and log-variance of one expert.

    Arguments:
        inputs: Scales x, and keeps its shape.
        shape: The shape of one row of x.
        axes: Number of its leading axes to convolve along; one more axis holds channels.
        channels: What each convolution gives.
        hidden: The widths of the fully connected layers.
        latent_dim: The dimension of z.
        activation: A key of ``ACTIVATIONS``.
    """

    def __init__(
        self,
        inputs: nn.Module,
        shape: Sequence[int],
        axes: int,
        channels: Sequence[int],
        hidden: Sequence[int],
        latent_dim: int,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        first, sizes = _sizes(shape, axes, len(channels))
        convolution = CONVOLUTIONS[axes][0]
        steps: list[nn.Module] = []
        for before, after in itertools.pairwise([first, *channels]):
            steps += [
                convolution(before, after, kernel_size=3, stride=2, padding=1),
                ACTIVATIONS[activation](),
            ]
        widths = [channels[-1] * math.prod(sizes[-1]), *hidden]
        self.channels_last = len(shape) > axes
        self.inputs = inputs
        self.convolutions = nn.Sequential(*steps)
        self.layers = layers(widths, activation)
        self.head = nn.Linear(widths[-1], 2 * latent_dim)

    def forward(self, x: Tensor) -> ModelOutput:
        scaled = self.inputs(x)
        # (batch, H, W) -> (batch, 1, H, W), channels last -> channels first
        planes = scaled.movedim(-1, 1) if self.channels_last else scaled.unsqueeze(1)
        mu, log_var = self.head(self.layers(self.convolutions(planes).flatten(1))).chunk(2, dim=1)
        return ModelOutput(embedding=mu, log_covariance=soft_bound(log_var))


class ConvDecoder(nn.Module):
    """The way back: fully connected layers, then convolutions that each double the size.

    Arguments:
        latent_dim: The dimension of z.
        hidden: The widths of the fully connected layers.
        channels: What each convolution takes.
        shape: The shape of one row of the parameter.
        axes: Number of its leading axes to convolve along; one more axis holds channels.
        activation: A key of ``ACTIVATIONS``.
        outputs: As for ``MLPDecoder``.
    """

    def __init__(
        self,
        latent_dim: int,
        hidden: Sequence[int],
        channels: Sequence[int],
        shape: Sequence[int],
        axes: int,
        activation: str = "relu",
        outputs: nn.Module | None = None,
    ) -> None:
        super().__init__()
        last, sizes = _sizes(shape, axes, len(channels))
        transposed = CONVOLUTIONS[axes][1]
        self.smallest = (channels[0], *sizes[-1])
        self.channels_last = len(shape) > axes
        self.layers = layers([latent_dim, *hidden, math.prod(self.smallest)], activation)
        steps: list[nn.Module] = []
        growing = itertools.pairwise(reversed(sizes))
        for (before, after), (_, size) in zip(itertools.pairwise([*channels, last]), growing, strict=True):
            # An even size is twice the smaller one, an odd one is one less.
            padding = tuple((cells - 1) % 2 for cells in size)
            steps += [
                transposed(before, after, 3, 2, padding=1, output_padding=padding),
                ACTIVATIONS[activation](),
            ]
        self.convolutions = nn.Sequential(*steps[:-1])
        self.outputs = outputs

    def forward(self, z: Tensor) -> ModelOutput:
        planes = self.convolutions(self.layers(z).unflatten(1, self.smallest))
        raw = planes.movedim(1, -1) if self.channels_last else planes.squeeze(1)
        return ModelOutput(reconstruction=raw) if self.outputs is None else self.outputs(raw)


def _sizes(shape: Sequence[int], axes: int, halvings: int) -> tuple[int, list[tuple[int, ...]]]:
    """The number of channels, and what each convolution leaves of the other axes, largest first."""
    channels, size = (shape[-1] if len(shape) > axes else 1), tuple(shape[:axes])
    sizes = [size]
    for _ in range(halvings):
        sizes.append(tuple((cells + 1) // 2 for cells in sizes[-1]))
    return channels, sizes
