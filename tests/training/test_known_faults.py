"""What goes wrong in the reference implementation, and not here, as far as no other file tests it by name.

Elsewhere: log-variances near -90, NaN under a mask (test_extremes, test_objective); names silently dropped
(test_model); a joint likelihood that refuses incomplete rows, placeholders that are scored
(test_likelihoods_of_subsets); best weights beside the latest optimizer (test_fit); networks as pickles
(test_importing); nothing to export (test_networks, test_export).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.examples import incomplete_rows, small_model
from training.config import Experiment
from training.data import Prepared
from training.data.rows import Rows
from training.fit import Progress, fit
from training.model import MVAE, MVAEConfig
from training.subsets import subsets


def test_grey_pixels_under_bernoulli_are_trained_on_and_scored() -> None:
    model = MVAE(
        MVAEConfig(1, latent_dim=2, input_dims={"image": (4,)}, decoders_dist={"image": "bernoulli"})
    )
    grey = {"image": torch.full((3, 4), 0.5)}
    model(grey).loss.backward()
    assert bool(model.compute_log_prob(grey, K=5).log_prob.isfinite().all())


@pytest.mark.parametrize("value", [-3.0, 5.0])
def test_default_decoders_reproduce_what_lies_outside_of_0_and_1(value: float) -> None:
    torch.manual_seed(0)
    model = MVAE(MVAEConfig(1, latent_dim=2, input_dims={"a": (3,)}, warmup=0))
    rows = {"a": torch.full((8, 3), value)}
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(rows).loss.backward()
        optimizer.step()
    assert float(model.predict(rows, return_mean=True).a.mean().detach()) == pytest.approx(value, abs=0.5)


@pytest.mark.parametrize("certain", [0.99999, 0.00001])
def test_default_decoders_of_bernoulli_give_logits_not_probabilities(certain: float) -> None:
    model = MVAE(MVAEConfig(1, latent_dim=2, input_dims={"a": (3,)}, decoders_dist={"a": "bernoulli"}))
    head = model.decoders["a"].get_submodule("head")
    head.get_parameter("weight").data.zero_()
    head.get_parameter("bias").data.fill_(torch.logit(torch.tensor(certain)).item())
    assert float(model.decode(torch.zeros(1, 2)).a.mean().detach()) == pytest.approx(certain, rel=1e-3)


def test_a_modality_that_one_of_64_rows_has_weighs_as_one_row() -> None:
    model, family = small_model(), subsets(3, 0)
    rows = Rows(incomplete_rows(64, 0).data, {"vector": torch.arange(64) == 7})
    noise, weights = torch.randn(len(family), 64, 4), list(model.decoders["vector"].parameters())
    together = torch.autograd.grad(model(rows, family=family, noise=noise).loss, weights)
    alone = model(rows.take(slice(7, 8)), family=family, noise=noise[:, 7:8]).loss
    for whole, private in zip(together, torch.autograd.grad(alone, weights), strict=True):
        torch.testing.assert_close(64 * whole, private, rtol=1e-3, atol=1e-4 * float(private.abs().max()))


def test_the_loss_of_an_epoch_on_incomplete_rows_is_the_mean_over_all_of_them(
    experiment: Experiment, prepared: Prepared, tmp_path: Path
) -> None:
    few = prepared.train.head(130)  # two batches of 50 and one of 30
    masks = {"label": torch.arange(130) % 3 > 0, "image": torch.arange(130) % 3 < 2}
    incomplete = Prepared(prepared.modalities, Rows(few.data, masks), prepared.validation, prepared.test)
    reported: list[float] = []
    once = experiment.model_copy(update={"fit": experiment.fit.model_copy(update={"epochs": 1})})
    reports = fit(
        once, incomplete, tmp_path, Progress(batch=lambda _e, _b, loss: reported.append(loss))
    ).reports
    assert reports[0].train_loss == pytest.approx(
        (50 * reported[0] + 50 * reported[1] + 30 * reported[2]) / 130
    )
