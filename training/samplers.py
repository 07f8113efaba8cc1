r"""A sampler of z beside the prior: a masked autoregressive flow that is fitted to the encodings of rows.

A block standardises each dimension by functions of those before it:

.. math:: u_i = (z_i - m_i(z_{<i})) \exp(-s_i(z_{<i})), \quad
   \log q(z) = \log N(u; 0, I) - \sum_i s_i

Between blocks the order of the dimensions is reversed. Papamakarios, Pavlakou & Murray 2017
(https://arxiv.org/abs/1705.07057); masks of Germain et al. 2015 (https://arxiv.org/abs/1502.03509).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.draws import draw_normal
from training.model import MVAE
from training.networks.outputs import ModelOutput, soft_bound

CONFIG, WEIGHTS = "sampler_config.json", "sampler.safetensors"
SCALE_BOUND = 5.0
"""Bound of the log scales of a block."""


@dataclass(frozen=True)
class MAFSamplerConfig:
    """Shape of the flow.

    Arguments:
        n_made_blocks: Number of blocks.
        hidden_size: Units of each of the two hidden layers of a block.
    """

    n_made_blocks: int = 4
    hidden_size: int = 64


class MAFSampler(nn.Module):
    """Draws z from a flow that is fitted to encodings, for :meth:`MVAE.decode`.

    Arguments:
        model: Model whose encodings are fitted.
        sampler_config: Shape of the flow.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: MVAE, sampler_config: MAFSamplerConfig | None = None) -> None:
        super().__init__()
        self.config = sampler_config or MAFSamplerConfig()
        self.dimension = model.latent_dim
        self._model = [model]  # in a list, since it is no part of the flow
        blocks = range(self.config.n_made_blocks)
        self.blocks = nn.ModuleList(_Block(self.dimension, self.config.hidden_size) for _ in blocks)
        self.register_buffer("mean", torch.zeros(self.dimension))
        self.register_buffer("std", torch.ones(self.dimension))

    def fit(
        self,
        train_data: Any,
        epochs: int = 100,
        batch_size: int = 100,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> list[float]:
        """Fits the flow to one draw of z for each row.

        Arguments:
            train_data: Rows, as for :meth:`MVAE.forward`.
            epochs: Passes over the rows.
            batch_size: Rows of a step.
            learning_rate: Learning rate of Adam.
            seed: Seed of the draws and of the order of the rows.

        Returns:
            The mean of -log q(z) of each epoch, in nats.
        """
        generator = torch.Generator().manual_seed(seed)
        (model,) = self._model
        with torch.no_grad(), model.evaluation_mode():
            z = model.encode(train_data, generator=generator).z[:, 0].to(self.mean)
        self.mean, self.std = z.mean(0), z.std(0).clamp_min(1e-6)
        optimizer = torch.optim.Adam(self.parameters(), learning_rate)
        orders = [torch.randperm(len(z), generator=generator) for _ in range(epochs)]
        return [self._epoch(z[order], batch_size, optimizer) for order in orders]

    def _epoch(self, z: Tensor, batch_size: int, optimizer: torch.optim.Optimizer) -> float:
        total = 0.0
        for batch in torch.split(z, batch_size):
            loss = -self.log_prob(batch).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(batch)
        return total / len(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns log q(z), (n,), of z (n, latent_dim)."""
        u, log_det = self.forward(z)
        normal = -0.5 * (u.square() + math.log(2 * math.pi)).sum(-1)
        return normal + log_det

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Returns u (n, latent_dim), and the log determinant of du/dz (n,)."""
        u = (z - self.mean) / self.std
        log_det = -self.std.log().sum().expand(len(z))
        for block in self.blocks:
            shift, scale = block(u)
            u = ((u - shift) * (-scale).exp()).flip(-1)
            log_det = log_det - scale.sum(-1)
        return u, log_det

    @torch.no_grad()
    def inverse(self, u: Tensor) -> Tensor:
        """Returns z, one dimension after the other, of u (n, latent_dim)."""
        for block in reversed(self.blocks):
            u, z = u.flip(-1), torch.zeros_like(u)
            for i in range(self.dimension):
                shift, scale = block(z)
                z[:, i] = u[:, i] * scale[:, i].exp() + shift[:, i]
            u = z
        return u * self.std + self.mean

    def sample(self, n_samples: int = 1, generator: torch.Generator | None = None) -> ModelOutput:
        """Draws ``z`` (n_samples, 1, latent_dim), ready for :meth:`MVAE.decode`."""
        noise = draw_normal((n_samples, self.dimension), generator).to(self.mean)
        return ModelOutput(z=self.inverse(noise)[:, None], one_latent_space=True)

    def save(self, dir_path: str | PathLike[str]) -> None:
        """Writes the shape as JSON and the weights as safetensors into a folder."""
        folder = Path(dir_path)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(asdict(self.config)) + "\n")
        save_file({name: x.contiguous() for name, x in self.state_dict().items()}, folder / WEIGHTS)

    @classmethod
    def load_from_folder(cls, dir_path: str | PathLike[str], model: MVAE) -> Self:
        """Reads a folder that :meth:`save` wrote.

        Raises:
            ValueError: A file is missing, damaged, or does not fit the model.
        """
        folder = Path(dir_path)
        try:
            sampler = cls(model, MAFSamplerConfig(**json.loads((folder / CONFIG).read_text())))
            sampler.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, ValueError, TypeError, SafetensorError, RuntimeError) as error:
            raise ValueError(f"{folder} does not hold a sampler for this model: {error}") from None
        return sampler


class _Block(nn.Module):
    """Shift and log scale of each dimension, by those before it: a network with masked weights.

    Arguments:
        dimension: Number of dimensions.
        hidden: Units of each of the two hidden layers.
    """

    def __init__(self, dimension: int, hidden: int) -> None:
        super().__init__()
        order, inner = torch.arange(dimension), torch.arange(hidden) % max(dimension - 1, 1)
        self.layers = nn.ModuleList(
            [
                _Masked(inner[:, None] >= order),
                _Masked(inner[:, None] >= inner),
                _Masked(order.repeat(2)[:, None] > inner),
            ]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second, last = self.layers
        shift, scale = last(torch.relu(second(torch.relu(first(x))))).chunk(2, -1)
        return shift, soft_bound(scale, SCALE_BOUND)


class _Masked(nn.Linear):
    """A linear layer without the weights outside of its mask, (out, in)."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.mask, self.bias)
