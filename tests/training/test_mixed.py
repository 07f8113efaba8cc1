"""Networks and losses of rows of mixed columns."""

from __future__ import annotations

import math

import numpy as np
import torch

from models_store.likelihoods import Mixed
from tests.models_store.examples import mixed_table
from training.config import Network
from training.data.rows import Rows
from training.model import MVAE
from training.mvae_config import MVAEConfig
from training.networks.build import networks_for
from training.networks.mixed import ColumnFeatures, ColumnParameters, _Ordered
from training.networks.units import total_count

TABLE = mixed_table()
NAN = math.nan
ROWS = torch.tensor(
    [
        [60.0, 0, 0.5, 0, 0, 0],
        [70.0, 4, 2.0, 1, 1, 2],
        [80.0, NAN, NAN, NAN, 1, 1],
        [NAN, 2, 1.0, 1, NAN, 2],
    ]
)


def test_features_are_standardised_numbers_one_hot_labels_and_flags_of_missing_cells() -> None:
    features = ColumnFeatures(TABLE.columns or (), ROWS)
    values = features(ROWS)
    assert values.shape == (4, features.width) == (4, 3 + 7 + 6)
    numbers, labels, missing = values.split([3, 7, 6], dim=1)
    logarithms = torch.stack([ROWS[:, 0], torch.log1p(ROWS[:, 1]), torch.log(ROWS[:, 2])], dim=1).numpy()
    scaled = (logarithms - np.nanmean(logarithms, axis=0)) / np.nanstd(logarithms, axis=0)
    np.testing.assert_allclose(numbers, np.nan_to_num(scaled), atol=1e-5)
    # smoker (no, yes); stage (early, late), of which the later includes the earlier; clinic (1, 2, 7)
    assert labels.tolist() == [
        [1, 0, 1, 0, 1, 0, 0],
        [0, 1, 1, 1, 0, 0, 1],
        [0, 0, 1, 1, 0, 1, 0],
        [0, 1, 0, 0, 0, 0, 1],
    ]
    np.testing.assert_array_equal(missing, torch.isnan(ROWS))


def test_a_number_above_zero_stays_near_the_training_rows() -> None:
    outputs = ColumnParameters(TABLE.columns or (), ROWS)
    family = TABLE.distribution
    assert isinstance(family, Mixed)
    for sign, extreme in ((-1, 0.5), (1, 2.0)):
        parameters = outputs(torch.full((1, outputs.width), sign * 1e4)).reconstruction.detach().numpy()
        bilirubin = [values for _, values in family.columns({"parameters": parameters})][2]
        bound = math.log(extreme) + sign * np.std(np.log([0.5, 1.0, 2.0]))
        np.testing.assert_allclose(bilirubin["loc"], bound, rtol=1e-5)


def test_parameters_begin_at_the_moments_and_shares_of_the_columns() -> None:
    outputs = ColumnParameters(TABLE.columns or (), ROWS)
    family = TABLE.distribution
    assert isinstance(family, Mixed)
    parameters = outputs(torch.zeros(1, outputs.width)).reconstruction.detach().numpy()
    assert parameters.shape == (1, family.width)
    columns = [values for _, values in family.columns({"parameters": parameters})]
    np.testing.assert_allclose(columns[0]["loc"], 70, rtol=1e-5)
    np.testing.assert_allclose(np.exp(columns[0]["log_scale"]), np.std([60, 70, 80]), rtol=1e-5)
    np.testing.assert_allclose(np.exp(columns[1]["log_mean"]), 2, rtol=1e-5)
    np.testing.assert_allclose(np.exp(columns[2]["loc"]), 1, rtol=1e-5)
    shares = np.exp(columns[3]["logits"]) / np.exp(columns[3]["logits"]).sum()
    np.testing.assert_allclose(shares, [[2 / 5, 3 / 5]], rtol=1e-5)  # one row more than there are of each
    np.testing.assert_allclose(np.exp(columns[4]["logits"]), [[2 / 5, 3 / 5]], rtol=1e-4)


def test_a_total_count_follows_from_mean_and_variance() -> None:
    np.testing.assert_allclose(total_count(torch.tensor([4.0]), torch.tensor([12.0])), [2.0])


def test_the_loss_is_finite_where_rows_lack_a_view_with_numbers_above_0() -> None:
    networks = networks_for(TABLE, Network(hidden=(8,)), 2, ROWS)
    config = MVAEConfig(
        n_modalities=1,
        input_dims={"patient": TABLE.parameter_shape()},
        latent_dim=2,
        decoders_dist={"patient": "mixed"},
        decoder_dist_params={"patient": {"parts": TABLE.parts}},
        hidden_cells={"patient": 0.5},
        objective="conditional",
    )
    model = MVAE(config, {"patient": networks[0]}, {"patient": networks[1]})
    masks = {"patient": torch.tensor([True, True, False, True])}
    loss = model(Rows({"patient": ROWS}, masks)).loss
    loss.backward()
    assert bool(loss.isfinite())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_probabilities_of_an_order_keep_their_digits_far_from_the_middle() -> None:
    """Against differences of sigmoids in float64, which have few digits in float32."""
    outputs = ColumnParameters(TABLE.columns or (), ROWS)
    (group,) = (one for one in outputs.groups if isinstance(one, _Ordered))
    with torch.no_grad():
        group.first.fill_(-2.0)
        group.log_steps.fill_(0.5)
    raw = torch.linspace(-11, 11, 45)[:, None].expand(-1, group.inputs)
    bounded = 12 * torch.tanh(raw.double() / 12)
    thresholds = -2.0 + torch.cumsum(
        torch.cat([torch.zeros(1), (12 * torch.tanh(group.log_steps[0] / 12)).exp()]), dim=0
    )
    below = torch.sigmoid(thresholds.double()[None, None] - bounded[..., None])
    ends = torch.cat([torch.zeros_like(below[..., :1]), below, torch.ones_like(below[..., :1])], dim=2)
    expected = torch.log((ends[..., 1:] - ends[..., :-1]).clamp(min=1e-6)).flatten(1)
    torch.testing.assert_close(group(raw).double(), expected, atol=2e-5, rtol=2e-6)
