"""A small model of three modalities and rows for it."""

from __future__ import annotations

import torch

from training.data.rows import Rows
from training.model import MVAE, MVAEConfig

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
