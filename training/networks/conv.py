"""Convolutional networks: over the plane of pictures and spectrograms, and along points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from models_store.manifest import Modality
from training.networks.mlp import ACTIVATIONS, layers
from training.networks.outputs import ModelOutput, soft_bound

Layout: TypeAlias = Literal["plane", "coloured plane", "path"]
"""(H, W), (H, W, C) or (P, C): where the channels are, and along what to convolve."""


def layout_of(modality: Modality) -> Layout | None:
    """How a modality is convolved; None where it has no neighbourhoods."""
    match modality.kind, len(modality.shape):
        case (("image" | "audio"), 2):
            return "plane"
        case "image", 3:
            return "coloured plane"
        case "points", _:
            return "path"
    return None


class ConvEncoder(nn.Module):
    """Convolutions of stride 2, then fully connected layers to the mean and log-variance of one expert.

    Arguments:
        inputs: Scales x, and keeps its shape.
        shape: The shape of one row of x.
        layout: What its axes are.
        channels: What each convolution gives.
        hidden: The widths of the fully connected layers.
        latent_dim: The dimension of z.
        activation: A key of ``ACTIVATIONS``.
    """

    def __init__(
        self,
        inputs: nn.Module,
        shape: Sequence[int],
        layout: Layout,
        channels: Sequence[int],
        hidden: Sequence[int],
        latent_dim: int,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        first, sizes = _sizes(shape, layout, len(channels))
        convolution = nn.Conv1d if layout == "path" else nn.Conv2d
        steps: list[nn.Module] = []
        for before, after in itertools.pairwise([first, *channels]):
            steps += [
                convolution(before, after, kernel_size=3, stride=2, padding=1),
                ACTIVATIONS[activation](),
            ]
        widths = [channels[-1] * math.prod(sizes[-1]), *hidden]
        self.layout = layout
        self.inputs = inputs
        self.convolutions = nn.Sequential(*steps)
        self.layers = layers(widths, activation)
        self.head = nn.Linear(widths[-1], 2 * latent_dim)

    def forward(self, x: Tensor) -> ModelOutput:
        scaled = self.inputs(x)
        # (batch, H, W) -> (batch, 1, H, W), channels last -> channels first
        planes = scaled.unsqueeze(1) if self.layout == "plane" else scaled.movedim(-1, 1)
        mu, log_var = self.head(self.layers(self.convolutions(planes).flatten(1))).chunk(2, dim=1)
        return ModelOutput(embedding=mu, log_covariance=soft_bound(log_var))


class ConvDecoder(nn.Module):
    """The way back: fully connected layers, then convolutions that each double the size.

    Arguments:
        latent_dim: The dimension of z.
        hidden: The widths of the fully connected layers.
        channels: What each convolution takes.
        shape: The shape of one row of the parameter.
        layout: What its axes are.
        activation: A key of ``ACTIVATIONS``.
        outputs: As for ``MLPDecoder``.
    """

    def __init__(
        self,
        latent_dim: int,
        hidden: Sequence[int],
        channels: Sequence[int],
        shape: Sequence[int],
        layout: Layout,
        activation: str = "relu",
        outputs: nn.Module | None = None,
    ) -> None:
        super().__init__()
        last, sizes = _sizes(shape, layout, len(channels))
        transposed: Any = nn.ConvTranspose1d if layout == "path" else nn.ConvTranspose2d
        self.smallest = (channels[0], *sizes[-1])
        self.layout = layout
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
        raw = planes.squeeze(1) if self.layout == "plane" else planes.movedim(1, -1)
        return ModelOutput(reconstruction=raw) if self.outputs is None else self.outputs(raw)


def _sizes(shape: Sequence[int], layout: Layout, halvings: int) -> tuple[int, list[tuple[int, ...]]]:
    """The number of channels, and what each convolution leaves of the other axes, largest first."""
    channels, size = (1, tuple(shape)) if layout == "plane" else (shape[-1], tuple(shape[:-1]))
    sizes = [size]
    for _ in range(halvings):
        sizes.append(tuple((cells + 1) // 2 for cells in sizes[-1]))
    return channels, sizes
