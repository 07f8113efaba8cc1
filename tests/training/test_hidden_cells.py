"""Cells that are hidden from the encoder in training, and predicted from the others."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from models_store.fusion import Gaussian
from models_store.kinds.fields import Column
from models_store.manifest import Modality
from training.config import Data, Experiment, Fit, ModalityChoice, Model, Network
from training.data import Prepared
from training.data.rows import Rows
from training.errors import ExperimentError
from training.fit import fit
from training.model import MVAE, MVAEConfig

COLUMNS = 5


def model_of(objective: str) -> MVAE:
    torch.manual_seed(0)
    config = MVAEConfig(
        n_modalities=2,
        latent_dim=3,
        input_dims={"labs": (COLUMNS,), "sex": (2,)},
        decoders_dist={"sex": "categorical"},
        objective=objective,
        warmup=0,
        hidden_cells={"labs": 0.5},
    )
    return MVAE(config)


def batch(n: int) -> tuple[Rows, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    labs = torch.randn(n, COLUMNS, generator=generator)
    labs[0, 2] = math.nan
    hidden = torch.rand(n, COLUMNS, generator=generator) < 0.5
    hidden[1] = True  # nothing of this row's modality is visible
    return Rows({"labs": labs, "sex": torch.randint(0, 2, (n,), generator=generator)}), {"labs": hidden}


def expert(model: MVAE, name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    output = model.encoders[name](x)
    return output.embedding, torch.exp(-output.log_covariance)


def posterior(model: MVAE, row: Rows, names: list[str]) -> Gaussian:
    """The product of the prior and the experts of one row, computed here."""
    precision, weighted = torch.ones(1, 3), torch.zeros(1, 3)
    for name in names:
        if name == "labs" and bool(row.data["labs"].isnan().all()):
            continue
        mean, of_expert = expert(model, name, row.data[name])
        precision, weighted = precision + of_expert, weighted + of_expert * mean
    return Gaussian(weighted / precision, -precision.log())


def bounds_of_row(
    model: MVAE, row: Rows, visible: Rows, family: torch.Tensor, noise: torch.Tensor
) -> list[torch.Tensor]:
    """The bounds of `conditional` for one row, written out subset by subset."""

    def log_prob(name: str, rows: Rows, z: torch.Tensor) -> torch.Tensor:
        return model.log_prob(name, rows.data[name], z)[0]

    joint = posterior(model, row, model.modalities)
    z_joint = joint.sample(noise[0])
    bounds = []
    for index, members in enumerate(family):
        names = [name for name, inside in zip(model.modalities, members, strict=True) if inside]
        seen = row if index == 0 else visible
        if names == ["labs"] and bool(seen.data["labs"].isnan().all()):
            continue
        q = posterior(model, seen, names)
        z = q.sample(noise[index])
        bound = -q.kl_from_prior()[0]
        for name in {*names, "sex"}:  # every subset predicts the category
            bound = bound + log_prob(name, seen, z)
        if index > 0:
            for name in model.modalities:
                bound = bound + log_prob(name, row, z_joint)
                if name in names:
                    bound = bound - log_prob(name, visible, z_joint)
            bound = bound - joint.kl(q)[0]
        bounds.append(bound)
    return bounds


def test_hidden_cells_are_predicted_from_the_joint_posterior() -> None:
    model, (rows, hidden) = model_of("conditional"), batch(6)
    family = model.draw_subsets()
    assert family.int().tolist() == [[1, 1], [1, 1], [1, 0], [0, 1]]
    noise = torch.randn(len(family), 6, 3, generator=torch.Generator().manual_seed(2))
    visible = Rows({**rows.data, "labs": rows.data["labs"].masked_fill(hidden["labs"], math.nan)})
    per_row = []
    for at in range(6):
        one = slice(at, at + 1)
        bounds = bounds_of_row(model, rows.take(one), visible.take(one), family, noise[:, one])
        per_row.append(-len(family) * torch.stack(bounds).mean())
    loss = model(rows, family=family, noise=noise, hidden=hidden).loss
    torch.testing.assert_close(loss, torch.stack(per_row).mean(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("objective", ["paper", "cross", "conditional", "matched", "coherent"])
def test_no_gradient_depends_on_the_values_of_a_modality_that_is_hidden_and_missing(objective: str) -> None:
    model, (rows, hidden) = model_of(objective), batch(6)
    hidden = {"labs": torch.ones_like(hidden["labs"])}
    loss = model(rows, hidden=hidden).loss
    loss.backward()
    assert loss.isfinite()
    assert all(weight.grad is None or bool(weight.grad.isfinite().all()) for weight in model.parameters())


def test_rows_hide_different_shares_of_their_cells_with_the_configured_mean() -> None:
    model = model_of("conditional")
    masks = model.draw_hidden_cells(4000, {"labs": (50,), "sex": ()}, torch.Generator().manual_seed(0))
    assert set(masks) == {"labs"}
    shares = masks["labs"].float().mean(dim=1)
    assert abs(float(shares.mean()) - 0.5) < 0.02
    assert float(shares.min()) < 0.02
    assert float(shares.max()) > 0.98


def test_only_kinds_with_missing_cells_hide_some() -> None:
    label = Modality(
        name="sex", kind="category", shape=(), dtype="int64", likelihood="categorical", labels=("f", "m")
    )
    with pytest.raises(ExperimentError, match=r"modalities\.sex\.hidden_cells: a category of int64 has no"):
        ModalityChoice(hidden_cells=0.5).of(label)


def low_rank(rows: int, columns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of rank 4 with noise, and where 30 % of their cells are missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)) @ rng.normal(size=(4, columns)) / 2
    return (x + 0.6 * rng.normal(size=x.shape)).astype(np.float32), rng.random(x.shape) < 0.3


def soft_impute(x: np.ndarray, share: float = 0.15) -> np.ndarray:
    """Missing cells by a nuclear norm penalty (Mazumder, Hastie & Tibshirani, 2010)."""
    seen = ~np.isnan(x)
    filled = np.where(seen, x, 0)
    penalty = share * np.linalg.svd(filled, compute_uv=False)[0]
    low = filled
    for _ in range(100):
        u, s, v = np.linalg.svd(np.where(seen, x, low), full_matrices=False)
        low = (u * np.maximum(s - penalty, 0)) @ v
    return low


def test_single_cells_of_a_wide_view_are_filled_as_by_a_low_rank_model(tmp_path: Path) -> None:
    x, missing = low_rank(300, 40, seed=3)
    given = torch.from_numpy(np.where(missing, np.nan, x).astype(np.float32))
    names = [f"c{at}" for at in range(40)]
    modality = Modality(
        name="x",
        kind="vector",
        shape=(40,),
        dtype="float32",
        likelihood="normal",
        columns=tuple(Column(name=name) for name in names),
    )
    rows = Rows({"x": given})
    train, validation, test = (rows.take(part) for part in (slice(180), slice(180, 200), slice(200, None)))
    experiment = Experiment(
        name="low_rank",
        data=Data(source="table"),
        modalities={"x": ModalityChoice(hidden_cells=0.5, network=Network(hidden=(64,)))},
        model=Model(latent_dim=8, objective="conditional"),
        fit=Fit(epochs=150, batch_size=64, learning_rate=3e-3, average=0.99),
    )
    model = fit(experiment, Prepared((modality,), train, validation, test), tmp_path).model
    with torch.no_grad():
        filled = model.predict(test, N=100, generator=torch.Generator().manual_seed(0))["x"].mean(dim=1)
    holes = missing[200:]
    mean, scale = np.nanmean(given[:200].numpy(), axis=0), np.nanstd(given[:200].numpy(), axis=0)

    def r2(estimate: np.ndarray) -> float:
        return float(
            1
            - (((estimate - x[200:]) / scale)[holes] ** 2).sum()
            / (((mean - x[200:]) / scale)[holes] ** 2).sum()
        )

    reference = soft_impute((given.numpy() - mean) / scale)[200:] * scale + mean
    assert r2(reference) > 0.4
    assert r2(filled.numpy()) > r2(reference) - 0.05
