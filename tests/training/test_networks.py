"""Networks take the user's units and give them back, and all of them can be exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from models_store.golden import agree
from models_store.likelihoods import FAMILIES
from models_store.manifest import Modality
from tests.training.reference import needs_reference, reference
from training.config import Experiment, Network
from training.data import Prepared
from training.data.rows import Rows
from training.errors import ExperimentError
from training.export import OnnxGraphs, export
from training.fit import build
from training.model import MVAE
from training.networks import LOG_VAR_BOUND, ModelOutput, networks_for, soft_bound

VECTOR = Modality(
    name="body",
    kind="vector",
    shape=(2,),
    dtype="float32",
    likelihood="normal",
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


def test_an_answer_above_zero_stays_near_the_training_rows() -> None:
    """For any z, the location of log x lies within a standard deviation of its values; gradients pass."""
    long_tails = modality("vector", (2,), "log_normal")
    logs = torch.randn(200, 2) * torch.tensor([0.5, 2.0]) + torch.tensor([3.0, -1.0])
    _, decoder = networks_for(long_tails, SMALL, 3, logs.exp().where(torch.rand(200, 2) > 0.1, torch.nan))
    z = (1e4 * torch.randn(50, 3)).requires_grad_()
    loc = decoder(z).reconstruction
    spread = logs.std(dim=0)
    assert (loc < logs.amax(dim=0) + 1.1 * spread).all()
    assert (loc > logs.amin(dim=0) - 1.1 * spread).all()
    assert (loc > logs.amax(dim=0)).any(), "the bounds are met"
    assert torch.autograd.grad(loc.sum(), z)[0].abs().amin() > 0


def test_a_missing_cell_is_flagged_and_its_column_scaled_by_the_others() -> None:
    x = torch.tensor([[1.0, torch.nan], [3.0, 5.0], [torch.nan, 5.0]])
    encoder, _ = networks_for(VECTOR, SMALL, 3, x)
    features = encoder.get_submodule("inputs")(x).flatten(1)
    torch.testing.assert_close(features[:, :2], torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(features[:, 2:], torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]))


def test_bytes_are_scaled_to_the_unit_interval() -> None:
    image = modality("image", (1, 2), "bernoulli", "uint8", range=(0, 255))
    encoder, decoder = networks_for(image, SMALL, 3, torch.zeros(1, 1, 2, dtype=torch.uint8))
    assert encoder.get_submodule("inputs")(torch.tensor([[[0, 255]]], dtype=torch.uint8)).tolist() == [
        [[0.0, 1.0]]
    ]
    assert decoder(torch.zeros(4, 3)).reconstruction.shape == (4, 1, 2)


def modality(
    kind: str, shape: tuple[int, ...], likelihood: str, dtype: str = "float32", **more: Any
) -> Modality:
    parameters = FAMILIES[likelihood].parameters
    accepted = {"name": "x", "kind": kind, "shape": shape, "dtype": dtype, "likelihood": likelihood}
    return Modality.model_validate({**accepted, "parameters": parameters, **more})


class OwnEncoder(nn.Module):
    def __init__(self, latent_dim: int, shape: Sequence[int], width: int = 8) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(width)
        self.head = nn.Linear(width, 2 * latent_dim)
        self.layer(torch.zeros(1, *shape).flatten(1))

    def forward(self, x: Tensor) -> ModelOutput:
        mu, log_var = self.head(self.layer(x.flatten(1))).chunk(2, dim=1)
        return ModelOutput(embedding=mu, log_covariance=log_var)


class OwnDecoder(nn.Module):
    def __init__(self, latent_dim: int, shape: Sequence[int], width: int = 8) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, torch.Size(shape).numel())
        )

    def forward(self, z: Tensor) -> ModelOutput:
        raw = self.layers(z).unflatten(1, self.shape)
        return ModelOutput(reconstruction=raw, log_scale=0.1 * raw)


def their_encoder(latent_dim: int, shape: Sequence[int]) -> nn.Module:
    networks = reference()
    return networks.Encoder(networks.Shape(input_dim=tuple(shape), latent_dim=latent_dim))


def their_decoder(latent_dim: int, shape: Sequence[int]) -> nn.Module:
    networks = reference()
    return networks.Decoder(networks.Shape(input_dim=tuple(shape), latent_dim=latent_dim))


MLP, CONV = Network(hidden=(8,)), Network(type="conv", hidden=(8,), channels=(4, 6))
CONV_ENCODER = CONV.model_copy(update={"type": "conv_encoder"})
OWN = Network(
    type="custom",
    encoder=f"{__name__}:OwnEncoder",
    decoder=f"{__name__}:OwnDecoder",
    options={"width": 5},
)
THEIRS = Network(type="custom", encoder=f"{__name__}:their_encoder", decoder=f"{__name__}:their_decoder")
CASES = {
    "image": (modality("image", (7, 10), "bernoulli", "uint8", range=(0, 255)), CONV),
    "image_from_cells": (modality("image", (7, 10), "bernoulli", "uint8", range=(0, 255)), CONV_ENCODER),
    "colours": (modality("image", (8, 5, 3), "normal"), CONV),
    "audio": (modality("audio", (6, 9), "laplace"), CONV),
    "points": (modality("points", (8, 2), "normal"), CONV),
    "vector": (modality("vector", (4,), "normal"), MLP),
    "robust_vector": (modality("vector", (4,), "student_t"), MLP),
    "long_tails": (modality("vector", (4,), "log_normal"), MLP),
    "rates": (modality("counts", (4,), "poisson"), MLP),
    "counts": (modality("counts", (4,), "negative_binomial", "int64"), MLP),
    "many_zeros": (modality("counts", (4,), "zero_inflated"), MLP),
    "category": (modality("category", (), "categorical", "int64", labels=("a", "b", "c")), MLP),
    "own_vector": (modality("vector", (4,), "normal"), OWN),
    "own_category": (modality("category", (), "categorical", "int64", labels=("a", "b", "c")), OWN),
    "own_tensor": (modality("tensor", (2, 3), "normal", "float64"), OWN),
}


def rows_for(x: Modality, n: int = 64) -> Tensor:
    torch.manual_seed(0)
    if x.kind == "category":
        return torch.randint(0, 3, (n,))
    if x.distribution.of_counts:
        return torch.poisson(torch.full((n, *x.shape), 30.0)).to(getattr(torch, x.dtype))
    values = torch.randn(n, *x.shape) * 40 + 100
    if x.distribution.above_zero:
        values = (values / 40).exp()
    if x.kind == "vector":
        values[::3, 1] = torch.nan
    return values.clamp(0, 255).to(getattr(torch, x.dtype)) if x.range else values.to(getattr(torch, x.dtype))


def exported(cases: Mapping[str, tuple[Modality, Network]]) -> tuple[MVAE, OnnxGraphs, Rows]:
    """One model of all cases, since an export takes longer than the graphs in it; and their rows."""
    experiment, prepared = prepared_for(cases)
    model = build(experiment, prepared).eval()
    return model, OnnxGraphs(*export(model, experiment, "", prepared, 1)), prepared.train


def prepared_for(cases: Mapping[str, tuple[Modality, Network]]) -> tuple[Experiment, Prepared]:
    modalities = {name: case.with_changes({"name": name}) for name, (case, _) in cases.items()}
    networks = {name: {"network": network} for name, (_, network) in cases.items()}
    experiment = Experiment.model_validate(
        {"name": "one", "data": {"source": "none"}, "modalities": networks, "model": {"latent_dim": 3}}
    )
    rows = Rows({name: rows_for(case) for name, case in modalities.items()})
    return experiment, Prepared(tuple(modalities.values()), rows, rows.take(slice(0)), rows)


def assert_graphs_agree(name: str, model: MVAE, graphs: OnnxGraphs, rows: Rows) -> None:
    """Torch and onnxruntime answer the same rows with equal numbers."""
    for batch in (1, 7, 64):
        some, z = rows.data[name][:batch], torch.randn(batch, model.latent_dim)
        with torch.no_grad():
            expert, parameters = model.expert(name, some), model.parameters_of(name, z)
        ours = graphs.encode(name, some.numpy())
        assert agree(np.asarray(ours.mu), expert.mu.numpy())
        assert agree(np.asarray(ours.log_var), expert.log_var.numpy())
        for parameter, value in graphs.decode(name, z.numpy()).items():
            assert agree(np.asarray(value), parameters[parameter].numpy())


@pytest.fixture(scope="module")
def every_case() -> tuple[MVAE, OnnxGraphs, Rows]:
    return exported(CASES)


@pytest.mark.parametrize("name", CASES)
def test_every_network_agrees_with_its_onnx_graph_in_batches_of_1_7_and_64(
    name: str, every_case: tuple[MVAE, OnnxGraphs, Rows]
) -> None:
    assert_graphs_agree(name, *every_case)


@needs_reference
def test_networks_written_for_the_reference_library_agree_too() -> None:
    assert_graphs_agree("theirs", *exported({"theirs": (modality("tensor", (2, 3), "normal"), THEIRS)}))


@pytest.mark.parametrize("name", CASES)
def test_outputs_have_the_shape_of_the_parameter_and_gradients_reach_all_weights(name: str) -> None:
    x, network = CASES[name]
    encoder, decoder = networks_for(x, network, 3, rows_for(x))
    expert = encoder(rows_for(x))
    output = decoder(expert.embedding)
    assert expert.embedding.shape == expert.log_covariance.shape == (64, 3)
    assert output.reconstruction.shape == (64, *x.parameter_shape())
    (sum(v.sum() for v in output.values()) + expert.log_covariance.sum()).backward()
    for network_part in (encoder, decoder):
        for key, weight in network_part.named_parameters():
            assert weight.grad is not None, key
            assert bool(weight.grad.isfinite().all()), key


@pytest.mark.parametrize("name", CASES)
def test_rows_without_the_modality_leave_all_gradients_finite(name: str) -> None:
    experiment, prepared = prepared_for({name: CASES[name], "other": CASES["vector"]})
    rows, model = prepared.train, build(experiment, prepared)
    model(Rows(rows.data, {name: torch.arange(len(rows)) % 2 == 0})).loss.backward()
    for key, weight in model.named_parameters():
        assert weight.grad is None or bool(weight.grad.isfinite().all()), key


@pytest.mark.parametrize("name", ["rates", "counts"])
def test_counts_are_expected_around_their_mean(name: str) -> None:
    x, network = CASES[name]
    _, decoder = networks_for(x, network, 3, rows_for(x))
    mean = x.distribution.mean({x.parameters[0]: decoder(torch.zeros(1, 3)).reconstruction})
    assert bool(((mean > 10) & (mean < 90)).all())


def test_long_tails_are_standardised_by_their_logarithms() -> None:
    x, network = CASES["long_tails"]
    rows = rows_for(x)
    encoder, decoder = networks_for(x, network, 3, rows)
    seen = encoder.get_submodule("inputs")(rows)[:, 0]
    torch.testing.assert_close(seen[1::3].mean(dim=0), torch.zeros(4), rtol=0, atol=0.3)
    median = decoder(torch.zeros(1, 3)).reconstruction.exp()
    assert bool(((median > 3) & (median < 50)).all())  # exp(100 / 40) is 12


def test_a_network_of_ones_own_meets_standardised_rows_and_answers_in_units() -> None:
    x, network = CASES["own_vector"]
    rows = rows_for(x)
    encoder, decoder = networks_for(x, network, 3, rows)
    seen = encoder.get_submodule("inputs")(rows)
    torch.testing.assert_close(seen.mean(dim=0), torch.zeros(4), rtol=0, atol=1e-5)
    assert bool(seen.isfinite().all())
    raw, answer = decoder.get_submodule("network")(torch.ones(1, 3)), decoder(torch.ones(1, 3))
    shift, scale = decoder.get_buffer("outputs.shift"), decoder.get_buffer("outputs.scale")
    torch.testing.assert_close(answer.reconstruction, shift + scale * raw.reconstruction)
    torch.testing.assert_close(answer.log_scale.exp(), raw.log_scale.exp() * scale)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "nowhere:Net"}, "network.encoder is 'nowhere:Net': No module named 'nowhere'"),
        ({"encoder": f"{__name__}:Net"}, "has no attribute 'Net'"),
        ({"encoder": "Net"}, "wanted is 'package.module:name'"),
        (
            {"decoder": "builtins:dict"},
            "network.decoder: 'builtins:dict' gave dict, wanted is a torch module",
        ),
        ({"options": {"depth": 3}}, "was called with latent_dim, shape and options: .*'depth'"),
    ],
)
def test_an_import_that_gives_no_network_is_refused_with_its_place(
    changes: dict[str, Any], message: str
) -> None:
    x, _ = CASES["own_vector"]
    with pytest.raises(ExperimentError, match=rf"modalities\.x\.network.*{message}|{message}"):
        networks_for(x, OWN.model_copy(update=changes), 3, rows_for(x))


@pytest.mark.parametrize("network", [CONV, CONV_ENCODER], ids=lambda network: network.type)
def test_convolutions_are_refused_where_there_are_no_neighbours(network: Network) -> None:
    refusal = rf"modalities.x.network: '{network.type}' is for image, .*'vector'"
    with pytest.raises(ExperimentError, match=refusal):
        networks_for(CASES["vector"][0], network, 3, rows_for(CASES["vector"][0]))


def test_a_convolutional_encoder_alone_has_the_decoder_of_a_fully_connected_one() -> None:
    x = CASES["image"][0]
    encoder, decoder = networks_for(x, CONV_ENCODER, 3, rows_for(x))
    alike = [networks_for(x, network, 3, rows_for(x)) for network in (CONV, MLP)]
    assert [type(encoder), type(decoder)] == [type(alike[0][0]), type(alike[1][1])]


@pytest.mark.parametrize(
    "given", [{"type": "custom"}, {"encoder": "a:b"}, {"type": "custom", "encoder": "a:b"}]
)
def test_a_custom_network_has_both_halves(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="the type 'custom' needs an encoder and a decoder"):
        Network.model_validate(given)
