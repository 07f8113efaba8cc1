"""The weight of a linear model beside networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.distributions import MultivariateNormal

from models_store.manifest import Modality
from tests.models_store.examples import category
from tests.training.factors import COLUMNS, VIEWS, drawn, known_factors
from tests.training.test_linear import experiment_of, prepared_of, rows_of, vectors
from training import stacking
from training.data.rows import Rows
from training.linear import LinearFit
from training.model import MVAE
from training.stacking import linear_weight, stacked_weight


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.4])
def test_the_weight_maximises_the_log_density_of_the_mixture(shift: float) -> None:
    """With one prediction more that each explains alone: log w + log (1 - w)."""
    difference = np.random.default_rng(0).normal(shift, 2.0, 80)

    def loss(w: float) -> float:
        return -np.log(w * np.exp(difference) + 1 - w).sum() - np.log(w) - np.log(1 - w)

    best = minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded").x
    assert stacked_weight(difference) == pytest.approx(best, abs=0.006)


@pytest.mark.parametrize(("difference", "weight"), [([1e6] * 500, 0.99), ([-1e6] * 500, 0.01), ([], 0.5)])
def test_both_keep_a_weight(difference: list[float], weight: float) -> None:
    assert stacked_weight(np.array(difference)) == weight


def test_differences_in_single_precision_may_be_large() -> None:
    """e^100 is none of its numbers; rows of hundreds of columns differ by as much."""
    difference = [100.0, -1.0]
    assert stacked_weight(np.array(difference, np.float32)) == stacked_weight(np.array(difference))


def test_predictions_that_are_no_number_do_not_count() -> None:
    difference = np.array([0.5, 2.0, -1.0])
    assert stacked_weight(np.append(difference, np.nan)) == stacked_weight(difference)


def test_log_densities_are_those_of_the_joint_normal_distribution() -> None:
    rows = rows_of(drawn(known_factors(), 150)[0])
    model = fitted(rows)
    some = Rows({name: x[:20] for name, x in rows.data.items()}, {"view1": torch.arange(20) % 3 > 0})
    expected, present = [], some.masks["view1"]
    mean, covariance = joint_normal(model)
    x = torch.cat([some.data[name] for name in model.modalities], dim=1).double()
    for view in range(len(model.modalities)):
        target = range(view * COLUMNS, (view + 1) * COLUMNS)
        for row in range(20):
            if view == 1 and not present[row]:
                continue
            absent = () if present[row] else range(COLUMNS, 2 * COLUMNS)
            given = [k for k in range(len(mean)) if k not in target and k not in absent]
            gain = covariance[list(target)][:, given] @ torch.linalg.inv(covariance[given][:, given])
            spread = covariance[list(target)][:, list(target)] - gain @ covariance[given][:, list(target)]
            centre = mean[list(target)] + gain @ (x[row, given] - mean[given])
            expected.append(float(MultivariateNormal(centre, spread).log_prob(x[row, list(target)])))
    estimated = stacking._log_density(model, some, 1)
    assert len(estimated) == len(expected)
    assert np.abs(estimated - expected).mean() < 0.15
    assert abs((estimated - expected).mean()) < 0.1


def joint_normal(model: MVAE) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of the cells of all views of a linear model, by its decoders."""
    points = torch.cat([torch.zeros(1, model.latent_dim), torch.eye(model.latent_dim)])
    with torch.no_grad():
        outputs = [model.parameters_of(name, points) for name in model.modalities]
    loc, log_scale = (
        torch.cat([one[key] for one in outputs], dim=1).double() for key in ("loc", "log_scale")
    )
    loadings = (loc[1:] - loc[0]).T
    return loc[0], loadings @ loadings.T + torch.diag((2 * log_scale[0]).exp())


def test_the_model_that_knows_the_table_has_the_weight() -> None:
    """The other one was fitted to the same columns, each in an order of its own."""
    rows = rows_of(drawn(known_factors(), 200)[0])
    rng = np.random.default_rng(3)
    mixed = Rows({name: x[torch.from_numpy(rng.permutation(len(x)))] for name, x in rows.data.items()})
    knows, ignorant, held_out = fitted(rows), fitted(mixed), rows_of(drawn(known_factors(), 60, seed=5)[0])
    assert linear_weight([ignorant], [knows], [held_out], 1) > 0.8
    assert linear_weight([knows], [ignorant], [held_out], 1) < 0.2
    assert linear_weight([knows], [knows], [held_out], 1) == 0.5


def test_cells_of_a_single_view_are_predicted_from_the_others() -> None:
    view = vectors()[0].model_copy(update={"shape": (VIEWS * COLUMNS,), "name": "all"})
    x = torch.from_numpy(drawn(known_factors(), 200)[0]).float()
    order = torch.from_numpy(np.random.default_rng(0).permuted(x.numpy(), axis=0))
    knows, ignorant = (fitted(Rows({"all": part}), (view,)) for part in (x, order))
    for model in (knows, ignorant):
        model.config.hidden_cells = {"all": 0.25}
    held_out = Rows({"all": torch.from_numpy(drawn(known_factors(), 60, seed=5)[0]).float()})
    assert len(stacking._log_density(knows, held_out, 1)) == 60
    assert linear_weight([ignorant], [knows], [held_out], 1) > 0.8


def test_labels_and_absent_views_are_predicted() -> None:
    modalities = (*vectors(), category("no", "yes").model_copy(update={"name": "label"}))
    rows = rows_of(drawn(known_factors(), 80)[0])
    label = (rows.data["view0"][:, 0] > 0).long()
    rows = Rows({**rows.data, "label": label}, {"label": torch.arange(80) < 40})
    density = stacking._log_density(fitted(rows, modalities), rows.head(stacking.ROWS_AT_ONCE), 1)
    assert len(density) == VIEWS * stacking.ROWS_AT_ONCE + 40
    assert np.isfinite(density).all()
    assert density[-40:].mean() > np.log(0.5)


def fitted(rows: Rows, modalities: tuple[Modality, ...] | None = None) -> MVAE:
    modalities = modalities or vectors()
    return LinearFit.of(experiment_of(modalities), prepared_of(modalities, rows, rows)).whole.model
