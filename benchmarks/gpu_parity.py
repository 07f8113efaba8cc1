"""Losses and gradients of every objective on each device, relative to those on the CPU in float32."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from training.data.rows import Rows
from training.model import MVAE, MVAEConfig
from training.objective import OBJECTIVES

CPU = torch.device("cpu")


def errors_on(gpu: torch.device) -> Iterator[dict[str, Any]]:
    """Relative errors of loss and gradient by objective, on the device and in bf16."""
    rows = _mixed_rows()
    for name in OBJECTIVES:
        model, family, noise = _mixed_model(name, len(rows))
        runs = ((CPU, False), (gpu, False), (CPU, True), (gpu, True))
        results = [_loss_and_gradient(model, rows, family, noise, *run) for run in runs]
        loss, gradient = results[0]
        errors = {
            f"{where.type}{' bf16' if half else ''}": {
                "loss": abs(other - loss) / abs(loss),
                "gradient": float((slope - gradient).norm() / gradient.norm()),
            }
            for (where, half), (other, slope) in zip(runs[1:], results[1:], strict=True)
        }
        yield {"objective": name, **errors}


def _mixed_rows() -> Rows:
    """64 rows of six modalities in six likelihoods and five dtypes, with missing cells and entries."""
    torch.manual_seed(0)
    n = 64
    x = {
        "image": torch.randint(0, 256, (n, 28, 28), dtype=torch.uint8),
        "measured": torch.randn(n, 6),
        "count": torch.randint(0, 9, (n, 4), dtype=torch.int32),
        "visits": torch.randint(0, 9, (n, 4)).float(),
        "robust": torch.randn(n, 5, dtype=torch.float64),
        "label": torch.arange(n) % 10,
    }
    x["measured"][0, 0] = torch.nan
    masks = {name: torch.rand(n) > 0.3 for name in ("image", "measured", "label")}
    masks["image"] |= ~(masks["measured"] | masks["label"])
    return Rows(x, masks)


def _mixed_model(objective: str, n: int) -> tuple[MVAE, Tensor, Tensor]:
    """A model of :func:`_mixed_rows`, with subsets and noise for n rows."""
    torch.manual_seed(1)
    config = MVAEConfig(
        6,
        8,
        {"image": (28, 28), "measured": (6,), "count": (4,), "visits": (4,), "robust": (5,), "label": (10,)},
        True,
        decoders_dist={
            "image": "bernoulli",
            "measured": "normal",
            "count": "poisson",
            "visits": "negative_binomial",
            "robust": "laplace",
            "label": "categorical",
        },
        decoder_dist_params={"image": {"range": (0, 255)}},
        k=2,
        objective=objective,
    )
    model, generator = MVAE(config), torch.Generator().manual_seed(2)
    family = model.draw_subsets(generator)
    return model, family, torch.randn(len(family), n, model.latent_dim, generator=generator)


def _loss_and_gradient(
    model: MVAE, rows: Rows, family: Tensor, noise: Tensor, where: torch.device, half: bool
) -> tuple[float, Tensor]:
    model = copy.deepcopy(model).to(where)
    with torch.autocast(where.type, torch.bfloat16, enabled=half):
        loss = model(rows.to(where), epoch=99, family=family, noise=noise.to(where)).loss
    loss.backward()
    slopes = [p.grad.flatten().float().cpu() for p in model.parameters() if p.grad is not None]
    return float(loss.detach()), torch.cat(slopes)
