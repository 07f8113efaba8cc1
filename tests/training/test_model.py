"""MVAE: the documented names, defaults and shapes, and what is refused."""

from __future__ import annotations

import dataclasses
import keyword
import math
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.examples import incomplete_rows, linear_gaussian, small_model
from training.data.rows import Rows
from training.model import MVAE, MVAEConfig
from training.networks import ModelOutput

DOCUMENTED = {
    "n_modalities": dataclasses.MISSING,
    "latent_dim": 10,
    "input_dims": None,
    "uses_likelihood_rescaling": False,
    "rescale_factors": None,
    "decoders_dist": None,
    "decoder_dist_params": None,
    "custom_architectures": dataclasses.MISSING,
    "use_subsampling": True,
    "k": 0,
    "warmup": 10,
    "beta": 1,
}


def test_the_twelve_documented_fields_come_first_with_their_defaults_then_the_objective() -> None:
    fields = dataclasses.fields(MVAEConfig)
    assert {f.name: f.default for f in fields[:12]} == DOCUMENTED
    assert (fields[12].name, fields[12].default) == ("objective", "paper")


@pytest.mark.parametrize("cond_mod", ["all", ["image"], ["label", "vector"], "label"])
def test_encode_gives_z_mu_and_log_var(cond_mod: Any) -> None:
    output = small_model().encode(Rows(incomplete_rows(5, 0).data), cond_mod, N=3)
    assert output.z.shape == (5, 3, 4)
    assert output.mu.shape == output.log_var.shape == (5, 4)
    assert output.one_latent_space is True


def test_a_modality_may_have_the_name_of_a_method_or_keyword() -> None:
    names = [*(name for name in dir(torch.nn.ModuleDict()) if not name.startswith("_")), *keyword.kwlist]
    assert {"train", "type", "keys", "to", "training", "class"} <= set(names)
    config = MVAEConfig(len(names), latent_dim=2, input_dims=dict.fromkeys(names, (1,)))
    model, rows = MVAE(config), Rows({name: torch.randn(4, 1) for name in names})
    loss = model.train()(rows).loss
    assert loss is not None
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    other = MVAE(config)
    other.load_state_dict(model.state_dict())
    means = [one.eval().encode(rows, "train", return_mean=True).z for one in (model, other)]
    torch.testing.assert_close(means[0], means[1])


def test_encode_flattens_row_by_row_and_repeats_the_mean() -> None:
    output = small_model().encode(Rows(incomplete_rows(5, 0).data), N=2, return_mean=True, flatten=True)
    torch.testing.assert_close(output.z, output.mu.repeat_interleave(2, dim=0))


def test_draws_have_the_moments_of_the_posterior() -> None:
    output = small_model().encode(
        Rows(incomplete_rows(2, 0).data), N=20_000, generator=torch.Generator().manual_seed(1)
    )
    deviation = (output.log_var / 2).exp()
    assert bool(((output.z.mean(dim=1) - output.mu).abs() < 5 * deviation / 20_000**0.5).all())
    torch.testing.assert_close(output.z.std(dim=1), deviation, rtol=0.03, atol=0)


@pytest.mark.parametrize("n", [1, 4])
def test_predict_gives_means_of_every_target(n: int) -> None:
    output = small_model().predict(Rows(incomplete_rows(5, 0).data), ["label"], N=n)
    assert {name: tuple(x.shape) for name, x in output.items()} == {
        "image": (5, n, 3, 4),
        "vector": (5, n, 5),
        "label": (5, n, 3),
    }
    assert bool(((output.image >= 0) & (output.image <= 255)).all())
    torch.testing.assert_close(output.label.sum(dim=-1), torch.ones(5, n))


def test_generate_from_prior_is_ready_to_decode() -> None:
    model = small_model()
    drawn = model.generate_from_prior(6)
    assert drawn.z.shape == (6, 1, 4)
    assert model.decode(drawn, "vector").vector.shape == (6, 1, 5)


def test_a_subset_means_the_same_however_it_is_asked_for() -> None:
    model, rows = small_model(), incomplete_rows(7, 1)
    mu, log_var = model.compute_mu_log_var_subset(rows, ["label", "image"])
    output = model.encode(rows, ["image", "label"])
    assert torch.equal(mu, output.mu)
    assert torch.equal(log_var, output.log_var)


def test_a_masked_row_has_the_posterior_of_what_it_has() -> None:
    model, rows = small_model(), incomplete_rows(20, 2)
    mu, log_var = model.compute_mu_log_var_subset(rows, ["image", "vector", "label"])
    for row in range(20):
        names = [name for name, mask in rows.masks.items() if mask[row]]
        alone = {name: rows.data[name][row : row + 1] for name in names}
        own_mu, own_log_var = model.compute_mu_log_var_subset(alone, names)
        torch.testing.assert_close(own_mu[0], mu[row])
        torch.testing.assert_close(own_log_var[0], log_var[row])


def test_numpy_arrays_tensors_and_objects_with_data_and_masks_are_inputs_alike() -> None:
    model, rows = small_model(), Rows(incomplete_rows(5, 0).data)
    arrays = {name: x.numpy() for name, x in rows.data.items()}
    for inputs in (arrays, dict(rows.data), ModelOutput(rows.data), rows):
        assert torch.equal(model.encode(inputs, return_mean=True).z, model.encode(rows, return_mean=True).z)


def test_forward_reports_loss_and_metrics() -> None:
    output = small_model()(incomplete_rows(5, 0), epoch=3)
    assert output.loss.ndim == 0
    assert set(output.metrics) == {"elbo", "kl", "log_prob_image", "log_prob_vector", "log_prob_label"}


@pytest.mark.parametrize(
    ("warmup", "epoch", "ratio", "expected"),
    [(10, 1, 0.0, 0.0), (10, 6, 0.5, 0.55 * 2), (10, 11, 0.0, 2.0), (10, 50, 0.9, 2.0), (0, 1, 0.0, 2.0)],
)
def test_the_divergence_is_weighted_in_over_the_warmup(
    warmup: int, epoch: int, ratio: float, expected: float
) -> None:
    config = MVAEConfig(1, input_dims={"a": (2,)}, warmup=warmup, beta=2.0)
    assert MVAE(config).beta_at(epoch, ratio) == pytest.approx(expected)


def test_without_subsampling_only_the_joint_elbo_counts() -> None:
    config = MVAEConfig(2, input_dims={"a": (2,), "b": (2,)}, use_subsampling=False, k=3)
    assert MVAE(config).draw_subsets().tolist() == [[True, True]]


def test_default_rescaling_weighs_modalities_by_their_number_of_cells() -> None:
    config = MVAEConfig(2, input_dims={"a": (2, 6), "b": (3,)}, uses_likelihood_rescaling=True)
    assert MVAE(config).weights.tolist() == [1.0, 4.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_modalities": 3}, "n_modalities is 3, but input_dims or encoders name 2"),
        (
            {"decoders_dist": {"c": "normal"}},
            "decoders_dist names the unknown modality 'c'; known are 'a' and 'b'",
        ),
        ({"decoders_dist": {"a": "gauss"}}, "decoders_dist of 'a' is 'gauss'; known are 'normal'"),
        ({"decoder_dist_params": {"a": {"sd": 1}}}, "decoder_dist_params of 'a' has 'sd'"),
        ({"objective": "elbo"}, "objective is 'elbo'; known are 'paper'"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_with_what_is_known(
    changes: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"n_modalities": 2, "input_dims": {"a": (2,), "b": (3,)}, **changes}
    with pytest.raises(ValueError, match=message):
        MVAE(MVAEConfig(**given))


def test_unknown_names_are_refused_never_dropped() -> None:
    model, rows = small_model(), Rows(incomplete_rows(2, 0).data)
    for ask in (
        lambda: model.encode(rows, ["image", "sound"]),
        lambda: model.predict(rows, "all", ["sound"]),
        lambda: model.encode({"sound": torch.zeros(2, 3)}),
        lambda: model.compute_mu_log_var_subset(rows, ["sound"]),
    ):
        with pytest.raises(ValueError, match="unknown modality 'sound'; this model knows 'image'"):
            ask()


def test_different_numbers_of_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same number of rows, got .*'image': 2.*'label': 3"):
        small_model().encode({"image": torch.zeros(2, 3, 4), "label": torch.zeros(3, dtype=torch.int64)})


def test_a_constant_scale_enters_the_density() -> None:
    model = linear_gaussian()
    parameters = model.parameters_of("a", torch.zeros(1, 2))
    assert np.allclose(parameters["log_scale"], math.log(0.5))


def test_a_function_as_likelihood_says_what_it_lacks_and_which_likelihoods_have_it() -> None:
    config = MVAEConfig(1, input_dims={"a": (2,)}, decoders_dist={"a": lambda loc, x: -((x - loc) ** 2)})
    family, parameters = MVAE(config).likelihoods["a"], {"reconstruction": torch.zeros(1, 2)}
    for ask in (
        lambda: family.variance(parameters),
        lambda: family.sample(parameters, np.random.default_rng(0)),
    ):
        with pytest.raises(ValueError, match=r"neither variances nor draws; name a likelihood .*normal"):
            ask()


def test_each_further_parameter_has_its_own_constant() -> None:
    config = MVAEConfig(
        1,
        input_dims={"a": (3,)},
        decoders_dist={"a": "student_t"},
        decoder_dist_params={"a": {"scale": 0.5, "df": 4.0}},
    )
    parameters = MVAE(config).parameters_of("a", torch.zeros(1, 10))
    assert list(parameters) == ["loc", "log_scale", "log_df"]
    assert np.allclose(parameters["log_scale"].exp(), 0.5)
    assert np.allclose(parameters["log_df"].exp(), 4.0)
