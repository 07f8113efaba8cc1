"""The flow is a density, its inverse inverts it, and it learns a distribution that is known."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from training.model import MVAE, MVAEConfig
from training.networks import ModelOutput
from training.samplers import MAFSampler, MAFSamplerConfig

SMALL = MAFSamplerConfig(n_made_blocks=2, hidden_size=16)


def mvae(latent_dim: int = 3) -> MVAE:
    return MVAE(MVAEConfig(n_modalities=2, latent_dim=latent_dim, input_dims={"a": (4,), "b": (5,)}))


def flow(latent_dim: int = 3) -> MAFSampler:
    """A flow of random weights that are large enough to bend it, and of another mean and scale."""
    torch.manual_seed(0)
    sampler = MAFSampler(mvae(latent_dim), SMALL)
    for parameter in sampler.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    sampler.mean += 0.5
    sampler.std *= 1.5
    return sampler


def test_the_log_determinant_is_that_of_the_jacobian() -> None:
    sampler, z = flow(), torch.randn(5, 3)
    _, log_det = sampler(z)
    for row, expected in zip(z, log_det, strict=True):
        jacobian: Any = torch.autograd.functional.jacobian(lambda x: sampler(x[None])[0][0], row)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, expected)


def test_shift_and_scale_depend_on_the_dimensions_before_alone() -> None:
    block, x = flow(4).blocks[0], torch.randn(4)
    jacobian: Any = torch.autograd.functional.jacobian(lambda x: torch.stack(block(x[None]))[:, 0], x)
    torch.testing.assert_close(jacobian.triu(), torch.zeros(2, 4, 4))
    assert bool((jacobian.tril(-1) != 0).any())


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_the_inverse_inverts(latent_dim: int) -> None:
    sampler, z = flow(latent_dim), torch.randn(20, latent_dim)
    torch.testing.assert_close(sampler.inverse(sampler(z)[0]), z, rtol=1e-3, atol=1e-4)


def test_the_density_integrates_to_one() -> None:
    axis = torch.linspace(-30, 30, 1201)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = flow(2).log_prob(grid).double().exp().sum() * (axis[1] - axis[0]).double() ** 2
    assert float(total) == pytest.approx(1, abs=0.01)


def test_it_learns_a_correlated_normal_distribution() -> None:
    """The mean of -log q(z) comes near to the entropy, and draws have its covariance."""
    covariance = torch.tensor([[2.0, 1.2], [1.2, 1.0]])
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(2000, 2, generator=generator) @ torch.linalg.cholesky(covariance).T + 3
    torch.manual_seed(0)
    sampler = MAFSampler(_encoding(z), SMALL)
    losses = sampler.fit(None, epochs=15, learning_rate=3e-3)
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance))
    assert losses[-1] == pytest.approx(entropy, abs=0.08)
    drawn = sampler.sample(4000, generator).z[:, 0]
    torch.testing.assert_close(drawn.T.cov(), covariance, rtol=0.15, atol=0.15)
    torch.testing.assert_close(drawn.mean(0), torch.full((2,), 3.0), rtol=0, atol=0.15)


def _encoding(z: Tensor) -> Any:
    from contextlib import nullcontext

    return SimpleNamespace(
        latent_dim=z.shape[1], encode=lambda *_, **__: ModelOutput(z=z[:, None]), evaluation_mode=nullcontext
    )


def test_draws_are_decoded_and_the_sampler_is_saved_without_a_pickle(tmp_path: Path) -> None:
    model, rows = mvae(), {"a": torch.rand(30, 4), "b": torch.rand(30, 5)}
    sampler = MAFSampler(model, SMALL)
    sampler.fit(rows, epochs=2)
    drawn = sampler.sample(7, torch.Generator().manual_seed(0))
    assert model.decode(drawn)["a"].shape == (7, 1, 4)
    sampler.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    same = MAFSampler.load_from_folder(tmp_path, model)
    torch.testing.assert_close(same.sample(7, torch.Generator().manual_seed(0)).z, drawn.z)
    with pytest.raises(ValueError, match="does not hold a sampler for this model"):
        MAFSampler.load_from_folder(tmp_path, mvae(2))
