"""A small model of three modalities and rows for it."""

from __future__ import annotations

import torch
from torch import nn

from training.data.rows import Rows
from training.model import MVAE, MVAEConfig
from training.networks import ModelOutput

NAMES = ["image", "vector", "label"]


def small_model(objective: str = "paper", k: int = 0, latent_dim: int = 4, seed: int = 0) -> MVAE:
    torch.manual_seed(seed)
    config = MVAEConfig(
        n_modalities=3,
        latent_dim=latent_dim,
        input_dims={"image": (3, 4), "vector": (5,), "label": (3,)},
        uses_likelihood_rescaling=True,
        rescale_factors={"label": 10.0},
        decoders_dist={"image": "bernoulli", "label": "categorical"},
        decoder_dist_params={"image": {"range": (0, 255)}, "vector": {"scale": 0.5}},
        k=k,
        objective=objective,
    )
    return MVAE(config)


def incomplete_rows(n: int, seed: int) -> Rows:
    """Rows of which about 40 % lack each modality; every row has something."""
    generator = torch.Generator().manual_seed(seed)
    data = {
        "image": torch.randint(0, 256, (n, 3, 4), generator=generator).to(torch.uint8),
        "vector": torch.randn(n, 5, generator=generator),
        "label": torch.randint(0, 3, (n,), generator=generator),
    }
    present = torch.rand(3, n, generator=generator) < 0.6
    present[2, ~present.any(dim=0)] = True
    return Rows(data, dict(zip(NAMES, present, strict=True)))


NOISE = 0.5
LINEAR_DIMS = {"a": 3, "b": 2, "c": 4}


class LinearEncoder(nn.Module):
    """The exact expert of a linear decoder with orthogonal columns, its variance made larger by a half."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        squares = (weight**2).sum(dim=0)
        self.inverse = nn.Parameter(weight.T / squares[:, None])
        self.log_var = nn.Parameter(torch.log(1.5 * NOISE**2 / squares))

    def forward(self, x: torch.Tensor) -> ModelOutput:
        return ModelOutput(embedding=x @ self.inverse.T, log_covariance=self.log_var.expand(len(x), -1))


class LinearDecoder(nn.Module):
    """A network in the form of MultiVae."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=z @ self.weight.T)


def linear_gaussian() -> MVAE:
    """x_m = W_m z + 0.5 e: every marginal is a normal distribution in closed form."""
    generator = torch.Generator().manual_seed(0)
    dims = LINEAR_DIMS
    weights = {
        name: torch.linalg.qr(torch.randn(size, 2, generator=generator))[0] * torch.tensor([1.5, 0.7])
        for name, size in dims.items()
    }
    return MVAE(
        MVAEConfig(len(dims), latent_dim=2, decoder_dist_params={name: {"scale": NOISE} for name in dims}),
        {name: LinearEncoder(weight) for name, weight in weights.items()},
        {name: LinearDecoder(weight) for name, weight in weights.items()},
    )
