"""Each field, method and argument of the reference documentation, under its own name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.examples import incomplete_rows, small_model
from training.data.rows import Rows
from training.model import MVAE, MVAEConfig
from training.networks import ModelOutput

DIMS = {"a": (2, 3), "b": (4,)}
X = {"a": torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0)), "b": torch.ones(5, 4)}
SIGNATURES: dict[str, dict[str, Any]] = {
    "__init__": {"model_config": inspect.Parameter.empty, "encoders": None, "decoders": None},
    "compute_joint_nll": {"inputs": inspect.Parameter.empty, "K": 1000, "batch_size_K": 100},
    "compute_mu_log_var_subset": {"inputs": inspect.Parameter.empty, "subset": inspect.Parameter.empty},
    "encode": {"inputs": inspect.Parameter.empty, "cond_mod": "all", "N": 1, "return_mean": False},
    "forward": {"inputs": inspect.Parameter.empty},
}


def model(**changes: Any) -> MVAE:
    torch.manual_seed(0)
    return MVAE(MVAEConfig(**{"n_modalities": 2, "input_dims": DIMS, **changes}))


def loss(of: MVAE, **arguments: Any) -> Tensor:
    noise = torch.zeros(len(of.draw_subsets()), 5, of.latent_dim)
    return of(X, epoch=100, noise=noise, **arguments).loss.detach()


@pytest.mark.parametrize("method", SIGNATURES)
def test_the_arguments_stand_where_they_are_documented(method: str) -> None:
    parameters = list(inspect.signature(getattr(MVAE, method)).parameters.values())[1:]
    documented = SIGNATURES[method]
    assert {p.name: p.default for p in parameters[: len(documented)]} == documented
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[len(documented) :])


def test_n_modalities_must_be_the_number_of_modalities() -> None:
    with pytest.raises(ValueError, match="n_modalities is 3"):
        model(n_modalities=3)


def test_latent_dim_is_the_dimension_of_z() -> None:
    assert model(latent_dim=7).encode(X).z.shape == (5, 1, 7)


def test_input_dims_make_default_networks() -> None:
    output = model().predict(X)
    assert {name: tuple(x.shape) for name, x in output.items()} == {"a": (5, 1, 2, 3), "b": (5, 1, 4)}


def test_uses_likelihood_rescaling_weighs_by_size_and_changes_the_loss() -> None:
    assert model(uses_likelihood_rescaling=True).weights.tolist() == [1.0, 1.5]
    assert loss(model(uses_likelihood_rescaling=True)) != loss(model())


def test_rescale_factors_count_only_with_uses_likelihood_rescaling() -> None:
    factors = {"a": 2.0, "b": 3.0}
    assert model(uses_likelihood_rescaling=True, rescale_factors=factors).weights.tolist() == [2.0, 3.0]
    assert model(rescale_factors=factors).weights.tolist() == [1.0, 1.0]


def test_decoders_dist_defaults_to_normal() -> None:
    assert torch.equal(loss(model()), loss(model(decoders_dist={"a": "normal", "b": "normal"})))


def test_decoders_dist_takes_functions() -> None:
    def normal(reconstruction: Tensor, x: Tensor) -> Tensor:
        assert reconstruction.shape == x.shape
        return torch.distributions.Normal(reconstruction, 1.0).log_prob(x)

    private, named = model(decoders_dist={"a": normal}), model()
    torch.testing.assert_close(loss(private), loss(named))
    torch.testing.assert_close(private.predict(X, return_mean=True).a, named.predict(X, return_mean=True).a)
    torch.manual_seed(1)
    nll = private.compute_joint_nll(X, K=10)
    torch.manual_seed(1)
    torch.testing.assert_close(nll, named.compute_joint_nll(X, K=10))


def test_a_function_of_decoders_dist_must_give_a_density_per_cell() -> None:
    rowwise = model(decoders_dist={"a": lambda reconstruction, _x: reconstruction.sum(dim=(1, 2))})
    with pytest.raises(ValueError, match=r"one log-density per cell, \(batch, \*\(2, 3\)\); it gave"):
        loss(rowwise)


def test_decoder_dist_params_sets_the_scale() -> None:
    narrow = model(decoder_dist_params={"a": {"scale": 0.75}})
    parameters = narrow.parameters_of("a", torch.zeros(1, 10))
    assert torch.allclose(parameters["log_scale"].exp(), torch.tensor(0.75))


def test_decoder_dist_params_is_not_used_up() -> None:
    """The reference takes the scale out of the dictionary that it was given."""
    given = {"a": {"scale": 0.75}}
    model(decoder_dist_params=given)
    assert given == {"a": {"scale": 0.75}}


def test_custom_architectures_names_what_was_passed_in() -> None:
    private = MVAE(MVAEConfig(2, input_dims=DIMS), {"a": model().encoders["a"]}, {"b": model().decoders["b"]})
    assert private.config.custom_architectures == ["a", "b"]
    assert model().config.custom_architectures == []


def test_use_subsampling_adds_each_modality_alone() -> None:
    assert len(model().draw_subsets()) == 3
    assert len(model(use_subsampling=False).draw_subsets()) == 1


def test_k_adds_random_subsets() -> None:
    three = {"n_modalities": 3, "input_dims": {**DIMS, "c": (2,)}}
    assert len(model(**three, k=2).draw_subsets()) == 1 + 3 + 2


def test_warmup_brings_beta_to_1_linearly_over_the_first_epochs() -> None:
    """Epoch 10 of 10 still rises, where the reference jumps to 1."""
    assert [model().beta_at(epoch, 0.0) for epoch in (1, 6, 10, 11)] == [0.0, 0.5, 0.9, 1.0]


def test_beta_scales_the_divergence() -> None:
    kl = model()(X, epoch=100, noise=torch.zeros(1, 5, 10), family=torch.tensor([[True, True]])).metrics["kl"]
    joint = {"use_subsampling": False}
    torch.testing.assert_close(loss(model(**joint, beta=3.0)) - loss(model(**joint)), 2 * kl)


def test_encoders_and_decoders_may_be_any_modules_of_the_documented_form() -> None:
    class Encoder(nn.Module):
        def forward(self, x: Tensor) -> ModelOutput:
            return ModelOutput(embedding=x.flatten(1)[:, :2], log_covariance=torch.zeros(len(x), 2))

    class Decoder(nn.Module):
        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=z.repeat(1, 3).unflatten(1, (2, 3)))

    private = MVAE(MVAEConfig(1, latent_dim=2), {"a": Encoder()}, {"a": Decoder()})
    output = private.encode({"a": X["a"]}, return_mean=True)
    torch.testing.assert_close(output.z[:, 0], X["a"].flatten(1)[:, :2] / 2)
    assert private.decode(output).a.shape == (5, 1, 2, 3)


def test_compute_joint_nll_is_a_sum_over_the_batch() -> None:
    whole = model().compute_joint_nll(X, K=2000, batch_size_K=500)
    parts = [model().compute_joint_nll({m: x[i : i + 1] for m, x in X.items()}, K=2000) for i in range(5)]
    assert whole.ndim == 0
    torch.testing.assert_close(whole, torch.stack(parts).sum(), rtol=0.05, atol=0.5)


def test_compute_mu_log_var_subset_gives_two_tensors_of_n_data_by_latent_dim() -> None:
    mu, log_var = model().compute_mu_log_var_subset(X, ["b"])
    assert mu.shape == log_var.shape == (5, 10)


@pytest.mark.parametrize(("cond_mod", "names"), [("all", ["a", "b"]), (["b"], ["b"]), ("a", ["a"])])
def test_encode_conditions_on_cond_mod(cond_mod: Any, names: list[str]) -> None:
    mean = model().encode(X, cond_mod, return_mean=True).z[:, 0]
    torch.testing.assert_close(mean, model().compute_mu_log_var_subset(X, names)[0])


@pytest.mark.parametrize("return_mean", [True, False])
@pytest.mark.parametrize("n", [1, 3])
def test_encode_gives_z_of_n_data_by_n_by_latent_dim_in_one_latent_space(n: int, return_mean: bool) -> None:
    output = model().encode(X, N=n, return_mean=return_mean)
    assert output.z.shape == (5, n, 10)
    assert output.one_latent_space is True


def test_encode_refuses_to_condition_on_nothing() -> None:
    with pytest.raises(ValueError, match="no modality to condition on; generate_from_prior"):
        model().encode(X, [])


def test_decode_and_predict_keep_or_join_the_first_two_axes() -> None:
    flat, whole = model().predict(X, "a", "b", 3, True), model().predict(X, "a", ["b"], 3)
    assert list(flat) == list(whole) == ["b"]
    assert flat.b.shape == (15, 4)
    assert whole.b.shape == (5, 3, 4)
    assert model().decode(model().encode(X, N=3, flatten=True), "a").a.shape == (15, 2, 3)


def test_forward_takes_masks_that_say_which_rows_are_available() -> None:
    private = model(decoders_dist={"a": "laplace"})
    mask = torch.tensor([True, False, True, True, False])
    zeros = {**X, "b": torch.where(mask[:, None], X["b"], 0.0)}
    noise = torch.zeros(3, 5, 10)
    masked = private(Rows(X, {"b": mask}), noise=noise)
    torch.testing.assert_close(masked.loss, private(Rows(zeros, {"b": mask}), noise=noise).loss)
    assert not torch.equal(masked.loss, private(X, noise=noise).loss)


def test_every_method_takes_masks_and_numpy() -> None:
    private, rows = small_model(), incomplete_rows(6, 3)
    arrays = Rows({m: x.numpy() for m, x in rows.data.items()}, {m: x.numpy() for m, x in rows.masks.items()})  # type: ignore[misc]
    assert bool(private(arrays).loss.isfinite())
    assert bool(private.compute_joint_nll(arrays, K=5).isfinite())
    for ask in (private.encode, private.predict):
        drawn = [ask(inputs, N=2, generator=torch.Generator().manual_seed(0)) for inputs in (rows, arrays)]
        assert all(torch.equal(drawn[0][key], drawn[1][key]) for key in drawn[0] if key != "one_latent_space")
    torch.testing.assert_close(
        private.compute_mu_log_var_subset(arrays, ["image"]),
        private.compute_mu_log_var_subset(rows, ["image"]),
    )
