"""Numbers that break other implementations leave no NaN here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.training.examples import incomplete_rows, small_model
from training.data.rows import Rows
from training.model import MVAE, MVAEConfig
from training.networks import ModelOutput
from training.objective import OBJECTIVES


class Sure(nn.Module):
    """An encoder whose log-variances are those it was given, one per row."""

    def __init__(self, log_var: float) -> None:
        super().__init__()
        self.mu = nn.Linear(2, 2)
        self.log_var = nn.Parameter(torch.tensor(log_var))

    def forward(self, x: Tensor) -> ModelOutput:
        signs = 1 - 2 * (torch.arange(len(x)) % 2)[:, None]
        return ModelOutput(embedding=self.mu(x), log_covariance=(self.log_var * signs).expand(-1, 2))


class Plain(nn.Linear):
    def forward(self, z: Tensor) -> ModelOutput:  # type: ignore[override]
        return ModelOutput(reconstruction=super().forward(z))


def all_finite(model: MVAE) -> bool:
    return all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("log_var", [100.0, -100.0])
def test_log_variances_of_a_hundred_either_way(log_var: float, objective: str) -> None:
    torch.manual_seed(0)
    model = MVAE(
        MVAEConfig(2, latent_dim=2, objective=objective),
        {"a": Sure(log_var), "b": Sure(-log_var)},
        {"a": Plain(2, 2), "b": Plain(2, 2)},
    )
    x = {"a": torch.randn(6, 2), "b": torch.randn(6, 2)}
    output = model(x, epoch=20)
    output.loss.backward()
    assert bool(output.loss.isfinite())
    assert all_finite(model)
    estimate = model.compute_log_prob(x, "a", "b", K=50)
    assert not bool(torch.stack([estimate.log_prob, estimate.ess]).isnan().any())
    assert bool((estimate.std_error.isnan() == ~estimate.reliable).all())
    assert bool(model.encode(x, N=3).z.isfinite().all())


def test_every_answer_is_finite_with_nan_under_masks_and_a_row_of_nothing() -> None:
    model, rows = small_model(), incomplete_rows(6, seed=8)
    rows.data["vector"][~rows.masks["vector"]] = torch.nan
    for mask in rows.masks.values():
        mask[0] = False
    encoded = model.encode(rows, N=2)
    assert bool(encoded.z.isfinite().all())
    assert encoded.mu[0].tolist() == encoded.log_var[0].tolist() == [0.0] * 4  # the prior
    assert all(bool(x.isfinite().all()) for x in model.predict(rows).values())
    estimate = model.compute_log_prob(rows, K=20)
    assert bool(estimate.log_prob.isfinite().all())
    assert estimate.log_prob[0] == 0


def test_a_default_network_flags_missing_cells() -> None:
    model, rows = small_model(), Rows(incomplete_rows(6, seed=8).data)
    rows.data["vector"][2, 1:3] = torch.nan
    model(rows).loss.backward()
    assert all_finite(model)
    assert bool(model.encode(rows).mu.isfinite().all())


def test_twenty_modalities_train() -> None:
    torch.manual_seed(0)
    names = [f"m{i}" for i in range(20)]
    model = MVAE(
        MVAEConfig(20, latent_dim=2, k=3, objective="matched", warmup=0),
        {name: Sure(0.0) for name in names},
        {name: Plain(2, 2) for name in names},
    )
    z = torch.randn(64, 2)
    rows = Rows(dict.fromkeys(names, z + 0.1), {name: torch.rand(64) < 0.5 for name in names})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(rows).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
