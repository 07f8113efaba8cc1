"""Networks take the user's units and give them back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models_store.manifest import Modality
from training.config import Network
from training.networks import LOG_VAR_BOUND, networks_for, soft_bound

VECTOR = Modality(
    name="body",
    kind="vector",
    shape=(2,),
    dtype="float32",
    likelihood="normal",
    parameters=("loc", "log_scale"),
)
SMALL = Network(hidden=(8,))


@given(st.floats(allow_nan=False, width=32))
def test_log_variances_are_bounded_softly(raw: float) -> None:
    bounded = float(soft_bound(torch.tensor(raw)))
    assert abs(bounded) <= LOG_VAR_BOUND
    assert bounded == pytest.approx(raw, rel=0.01) or abs(raw) > 2


def test_any_units_meet_the_network_alike() -> None:
    """Metres or millimetres: the encoder gives the same posterior."""
    x = torch.randn(50, 2) * torch.tensor([0.1, 20.0]) + torch.tensor([1.7, 70.0])
    outputs = []
    for factor in (1.0, 1000.0):
        torch.manual_seed(0)
        encoder, _ = networks_for(VECTOR, SMALL, 3, factor * x)
        outputs.append(encoder(factor * x).embedding)
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)


def test_a_decoder_of_quantities_speaks_in_their_units() -> None:
    x = torch.randn(500, 2) * torch.tensor([0.1, 20.0]) + torch.tensor([1.7, 70.0])
    _, decoder = networks_for(VECTOR, SMALL, 3, x)
    output = decoder(torch.zeros(1, 3))
    assert output.reconstruction[0, 1].item() == pytest.approx(70, abs=20)
    torch.testing.assert_close(output.log_scale.exp()[0].detach(), x.std(dim=0), rtol=0.05, atol=0)


def test_a_missing_cell_is_flagged_and_its_column_scaled_by_the_others() -> None:
    x = torch.tensor([[1.0, torch.nan], [3.0, 5.0], [torch.nan, 5.0]])
    encoder, _ = networks_for(VECTOR, SMALL, 3, x)
    features = encoder.inputs(x)
    torch.testing.assert_close(features[:, :2], torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(features[:, 2:], torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]))


def test_bytes_are_scaled_to_the_unit_interval() -> None:
    modality = Modality(
        name="image",
        kind="image",
        shape=(1, 2),
        dtype="uint8",
        likelihood="bernoulli",
        parameters=("logits",),
        range=(0, 255),
    )
    encoder, decoder = networks_for(modality, SMALL, 3, torch.zeros(1, 1, 2, dtype=torch.uint8))
    assert encoder.inputs(torch.tensor([[[0, 255]]], dtype=torch.uint8)).tolist() == [[0.0, 1.0]]
    assert decoder(torch.zeros(4, 3)).reconstruction.shape == (4, 1, 2)
