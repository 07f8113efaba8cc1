"""Rows of docs/coming-from-multivae.md, run with both libraries on the same weights.

Those of categories are in test_multivae_categories.py, which also tests that every row is run.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.reference import needs_reference, reference
from tests.training.test_reference import DIMS, DISTS, FIELDS, SUBSETS, masks, rows
from training import metrics
from training.importing import read_saved
from training.model import MVAE, MVAEConfig
from training.networks import ModelOutput
from training.samplers import MAFSampler

pytestmark = needs_reference

RUN: set[str] = set()
"""First cells of the rows that a test runs."""

Test = Callable[..., None]


def row(*cells: str) -> Callable[[Test], Test]:
    """Marks a test that runs rows of the page, by their first cells."""
    RUN.update(cells)
    return lambda test: test


@pytest.fixture(scope="module")
def library() -> SimpleNamespace:
    return reference()


@pytest.fixture
def theirs(library: SimpleNamespace) -> Any:
    torch.manual_seed(0)
    return library.MVAE(library.MVAEConfig(**FIELDS)).eval()


@pytest.fixture
def ours(theirs: Any) -> MVAE:
    return MVAE(MVAEConfig(**FIELDS), theirs.encoders, theirs.decoders).eval()


@row("`compute_mu_log_var_subset(inputs, subset)`")
def test_posteriors_are_equal(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    for inputs in (library.Complete(rows(9)), library.Incomplete(rows(9), masks(9))):
        for names in SUBSETS:
            expected = theirs.compute_mu_log_var_subset(inputs, names)
            actual = ours.compute_mu_log_var_subset(inputs, names)
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@row("`forward(inputs)` of complete rows")
def test_losses_of_complete_rows_are_equal(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    torch.manual_seed(4)
    expected = theirs(library.Complete(rows(10)), epoch=9)
    torch.manual_seed(4)
    noise = torch.stack([torch.randn(10, 4) for _ in range(4)])
    actual = ours(rows(10), epoch=9, noise=noise)
    torch.testing.assert_close(actual.loss, expected.loss, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(actual.loss_sum, expected.loss_sum, rtol=1e-5, atol=1e-3)


@row("`forward(inputs)` of incomplete rows, `use_subsampling=False`")
def test_losses_of_incomplete_rows_are_equal(library: SimpleNamespace) -> None:
    fields = FIELDS | {"use_subsampling": False}
    theirs = library.MVAE(library.MVAEConfig(**fields)).eval()
    ours = MVAE(MVAEConfig(**fields), theirs.encoders, theirs.decoders).eval()
    present = masks(10)
    present["image"] |= ~(present["vector"] | present["sound"])  # theirs has no prior for an empty row
    inputs = library.Incomplete(rows(10), present)
    torch.manual_seed(4)
    expected = theirs(inputs, epoch=9).loss
    torch.manual_seed(4)
    actual = ours(inputs, epoch=9, noise=torch.randn(1, 10, 4)).loss
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-4)


@row("`compute_joint_nll(inputs, K)`", "`compute_joint_nll` of incomplete rows")
def test_the_joint_nll(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    torch.manual_seed(3)
    expected = theirs.compute_joint_nll(library.Complete(rows(6)), K=200, batch_size_K=100)
    torch.manual_seed(3)
    nll = ours.compute_joint_nll(rows(6), K=200, batch_size_K=200)
    torch.testing.assert_close(nll, expected, rtol=1e-5, atol=1e-4)
    incomplete = library.Incomplete(rows(6), masks(6))
    with pytest.raises(AttributeError, match="compute_joint_nll"):
        theirs.compute_joint_nll(incomplete)
    assert bool(ours.compute_joint_nll(incomplete, K=10).isfinite())


@row("`uses_likelihood_rescaling`, `rescale_factors`")
def test_rescaling_is_equal(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    assert ours.weights.tolist() == pytest.approx([theirs.rescale_factors[name] for name in DIMS])
    fields = FIELDS | {"rescale_factors": {"image": 2.0, "vector": 3.0, "sound": 0.5}}
    given = library.MVAE(library.MVAEConfig(**fields)).rescale_factors
    assert MVAE(MVAEConfig(**fields)).weights.tolist() == [given[name] for name in DIMS]


@row("`BaseTrainer(model, train_dataset)`", "`model.model_config`, `model.model_name`")
@pytest.mark.skipif(importlib.util.find_spec("tqdm") is None, reason="MultiVae's trainer needs tqdm")
def test_the_trainer_of_multivae_trains_this_class(
    library: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    torch.manual_seed(0)
    model = MVAE(MVAEConfig(**FIELDS))
    data = library.Complete(rows(32))
    config = library.TrainerConfig(
        output_dir=str(tmp_path),
        num_epochs=6,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        no_cuda=True,
    )
    before = float(model.eval()(data, epoch=9).loss.detach())
    trainer = library.Trainer(model, train_dataset=data, training_config=config)
    assert (trainer.model_config, trainer.model_name) == (model.model_config, "MVAE")
    trainer.train()
    (folder,) = tmp_path.glob("*/final_model")
    trained = MVAE.load_from_folder(folder)
    assert trained.model_config == model.model_config
    assert float(trained(data, epoch=9).loss.detach()) < before - 1


@row("`CoherenceEvaluator`, `FIDEvaluator`, `Reconstruction`, `Clustering`")
def test_metrics_are_numbers(ours: MVAE) -> None:
    inputs, labels = rows(12), torch.arange(12) % 3
    judges = {name: lambda x: x.flatten(1)[:, :3] for name in DIMS}
    coherence = metrics.cross_coherence(ours, inputs, labels, judges)
    assert coherence.keys() == set(range(1, len(DIMS)))
    assert 0 <= metrics.joint_coherence(ours, judges, 10) <= 1
    assert metrics.reconstruction_error(ours, inputs).keys() == DIMS.keys()
    assert metrics.fid(ours, inputs, "vector", lambda x: x, ["image"]) >= 0
    data = (inputs, labels.numpy())
    assert 1 / 3 <= metrics.cluster_accuracy(ours, data, data, 3) <= 1


@row("`MAFSampler(model)`, `.fit(data)`, `.sample(n)`")
def test_the_flow_samples_z(ours: MVAE) -> None:
    sampler = MAFSampler(ours)
    sampler.fit(rows(12), epochs=1)
    assert ours.decode(sampler.sample(5))["vector"].shape == (5, 1, *DIMS["vector"])


@row("`push_to_hf_hub(hf_hub_path)`, `load_from_hf_hub(hf_hub_path)`")
@pytest.mark.parametrize("name", ["push_to_hf_hub", "load_from_hf_hub"])
def test_the_methods_for_the_hub_have_the_same_arguments(theirs: Any, ours: MVAE, name: str) -> None:
    """test_hub.py sends a model to a stand-in for the hub, and gets it back."""
    expected, actual = (inspect.signature(getattr(model, name)).parameters for model in (theirs, ours))
    assert [*actual][: len(expected)] == [*expected]


@row("`encode(inputs, ignore_incomplete=True)`")
def test_incomplete_rows_are_encoded(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    inputs = library.Incomplete(rows(6), masks(6))
    with pytest.raises(AttributeError, match="incomplete dataset"):
        theirs.encode(inputs)
    expected = theirs.encode(inputs, ignore_incomplete=True, return_mean=True).z
    for ignored in (False, True):
        z = ours.encode(inputs, return_mean=True, ignore_incomplete=ignored).z
        torch.testing.assert_close(z[:, 0], expected)
    assert ours.predict(inputs, "image", "all", ignore_incomplete=True).keys() == DIMS.keys()


@row("`compute_cond_nll(inputs, subset, pred_mods, k_iwae)`")
def test_conditional_likelihoods_agree(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    x = rows(8)
    torch.manual_seed(0)
    expected = theirs.compute_cond_nll(library.Complete(x), ["image"], ["vector", "sound"], k_iwae=3000)
    actual = ours.compute_cond_nll(x, ["image"], ["vector", "sound"], k_iwae=1000)
    assert actual.keys() == expected.keys()
    for name, nll in actual.items():
        assert float(nll) == pytest.approx(float(expected[name]), abs=0.15)
    some = {**masks(8), "vector": torch.arange(8) < 3}
    kept = ours.compute_cond_nll(library.Incomplete(x, some), ["image"], "vector", k_iwae=500)["vector"]
    first = {name: value[:3] for name, value in x.items()}
    shown = library.Incomplete(first, {name: mask[:3] for name, mask in some.items()})
    assert float(kept) == pytest.approx(
        float(ours.compute_cond_nll(shown, ["image"], "vector", k_iwae=500)["vector"]), abs=0.3
    )


@row("`model.save(folder)`", "`MVAE.load_from_folder(folder)` of own networks")
def test_saved_models(theirs: Any, ours: MVAE, tmp_path: Path) -> None:
    theirs.save(str(tmp_path / "theirs"))
    ours.save(tmp_path / "ours")
    assert {f.name for f in (tmp_path / "ours").iterdir()} == {"model_config.json", "model.safetensors"}
    assert "model.pt" in {f.name for f in (tmp_path / "theirs").iterdir()}
    with pytest.raises(ValueError, match="networks of its own for 'image', 'sound' and 'vector'"):
        MVAE.load_from_folder(tmp_path / "ours")
    networks = MVAE(MVAEConfig(**FIELDS), *_networks(theirs))
    again = MVAE.load_from_folder(tmp_path / "ours", {**networks.encoders}, {**networks.decoders})
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


@row("`state_dict()`, with the same networks", "a folder that MultiVae saved")
def test_weights_move_both_ways(library: SimpleNamespace, theirs: Any, ours: MVAE, tmp_path: Path) -> None:
    twin = MVAE(MVAEConfig(**FIELDS), *_networks(theirs)).eval()
    twin.load_state_dict(theirs.state_dict())
    back = library.MVAE(library.MVAEConfig(**FIELDS)).eval()
    back.load_state_dict(twin.state_dict())
    theirs.save(str(tmp_path))
    x = library.Incomplete(rows(9), masks(9))
    expected = theirs.compute_mu_log_var_subset(x, ["image", "sound"])
    for model in (twin, back, ours, read_saved(tmp_path).model):
        actual = model.compute_mu_log_var_subset(x, ["image", "sound"])
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def _networks(model: Any) -> tuple[Any, Any]:
    """Copies of a model's networks with weights of their own."""
    twin = type(model)(model.model_config)
    return twin.encoders, twin.decoders


@row(
    "`encode(inputs).z`",
    "`encode(inputs, N=3).z`",
    "`encode(inputs, N=3, return_mean=True).z`",
    "`encode(inputs, N=3, flatten=True).z`",
)
def test_shapes_of_z(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    x = library.Complete(rows(5))
    assert theirs.encode(x).z.shape == (5, 4)
    assert ours.encode(x).z.shape == (5, 1, 4)
    assert theirs.encode(x, N=3).z.shape == (3, 5, 4)
    assert ours.encode(x, N=3).z.shape == (5, 3, 4)
    assert theirs.encode(x, N=3, return_mean=True).z.shape == (3, 5, 4)
    assert ours.encode(x, N=3, return_mean=True).z.shape == (5, 3, 4)
    mean = ours.encode(x, return_mean=True).z[:, 0]
    flat = theirs.encode(x, N=3, return_mean=True, flatten=True).z
    torch.testing.assert_close(flat, mean.repeat(3, 1))
    flat = ours.encode(x, N=3, return_mean=True, flatten=True).z
    torch.testing.assert_close(flat, mean.repeat_interleave(3, dim=0))


@row("`decode(z)`, `predict(…)` of `bernoulli`")
def test_means_and_logits(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    x = library.Complete(rows(5))
    expected = theirs.predict(x, "vector", "image", return_mean=True).image
    means = ours.predict(x, "vector", "image", return_mean=True).image[:, 0]
    logits = ours.predict(x, "vector", "image", return_mean=True, logits=True).image[:, 0]
    torch.testing.assert_close(means, torch.sigmoid(expected))
    torch.testing.assert_close(logits, expected)
    z = ours.encode(x, "vector", return_mean=True)
    torch.testing.assert_close(ours.decode(z, "image", logits=True).image[:, 0], expected)


@row("`decode(z)`, `predict(…)` in training mode")
def test_evaluation_mode(library: SimpleNamespace, theirs: Any) -> None:
    encoders = {name: nn.Sequential(network, _Dropped()) for name, network in theirs.encoders.items()}
    ours = MVAE(MVAEConfig(**FIELDS), encoders, theirs.decoders).train()
    ours.decoders["image"].eval()
    x = library.Complete(rows(5))
    predicted = [ours.predict(x, return_mean=True).vector for _ in range(2)]
    torch.testing.assert_close(*predicted)
    assert not predicted[0].requires_grad
    assert not ours.decode(torch.zeros(1, 4)).vector.requires_grad
    assert ours.training
    assert ours.encoders["image"].training
    assert not ours.decoders["image"].training
    theirs.train().predict(x)
    assert not theirs.training


class _Dropped(nn.Module):
    """Drops half of an encoder's outputs in training mode."""

    def forward(self, output: Any) -> ModelOutput:
        mu = nn.functional.dropout(output.embedding, training=self.training)
        return ModelOutput(embedding=mu, log_covariance=output.log_covariance)


@row("`MVAEConfig(nonsense=1)`", '`MVAEConfig(latent_dim="x")`')
def test_configurations_are_checked(library: SimpleNamespace) -> None:
    library.MVAEConfig(n_modalities=2, nonsense=1)
    with pytest.raises(ValueError, match="nonsense"):
        MVAEConfig(n_modalities=2, nonsense=1)  # type: ignore[call-arg]
    kinds: tuple[Any, ...] = (library.MVAEConfig, MVAEConfig)
    for kind in kinds:
        with pytest.raises(ValueError, match="latent_dim"):
            kind(n_modalities=2, latent_dim="x")


@row("`forward(inputs)` of incomplete rows, `use_subsampling=True`")
def test_losses_of_incomplete_rows_with_subsets_differ(
    library: SimpleNamespace, theirs: Any, ours: MVAE
) -> None:
    """Here a row's terms are averaged over the subsets that leave something of it, times their number."""
    inputs = library.Incomplete(
        rows(10), {name: mask | (name == "image") for name, mask in masks(10).items()}
    )
    torch.manual_seed(0)
    noise = torch.zeros(len(ours.draw_subsets()), 10, 4)
    whole = float(ours(inputs, epoch=9, noise=noise).loss.detach())
    by_row = [float(ours(_row(inputs, n), epoch=9, noise=noise[:, :1]).loss.detach()) for n in range(10)]
    assert whole == pytest.approx(sum(by_row) / 10, rel=1e-5)
    by_row = [float(theirs(_row(inputs, n), epoch=9).loss.detach()) for n in range(10)]
    assert float(theirs(inputs, epoch=9).loss.detach()) != pytest.approx(sum(by_row) / 10, rel=1e-3)


def _row(inputs: Any, n: int) -> Any:
    one = {name: x[n : n + 1] for name, x in inputs.data.items()}
    return type(inputs)(one, {name: mask[n : n + 1] for name, mask in inputs.masks.items()})


@row("`k` in `eval()`", "`k=4` of three modalities, which have three pairs")
def test_random_subsets(library: SimpleNamespace) -> None:
    x, subsets = library.Complete(rows(5)), 1 + 3
    many = FIELDS | {"k": 4}
    assert len(MVAE(MVAEConfig(**many)).draw_subsets()) == subsets + 4
    with pytest.raises(ValueError, match=r"larger sample than population"):
        library.MVAE(library.MVAEConfig(**many)).train()(x)
    theirs = library.MVAE(library.MVAEConfig(**FIELDS | {"k": 2})).eval()
    ours = MVAE(MVAEConfig(**FIELDS | {"k": 2}), theirs.encoders, theirs.decoders).eval()
    torch.manual_seed(4)
    expected = theirs(x, epoch=9).loss
    torch.manual_seed(4)
    noise = torch.stack([torch.randn(5, 4) for _ in range(subsets)])
    dropped = ours(x, epoch=9, noise=noise, family=ours.draw_subsets()[:subsets]).loss
    torch.testing.assert_close(dropped, expected, rtol=1e-5, atol=1e-4)
    assert len(ours.draw_subsets()) == subsets + 2


@row("`warmup`")
def test_the_warmup(library: SimpleNamespace) -> None:
    ours = MVAE(MVAEConfig(**FIELDS | {"warmup": 10, "beta": 2.0}))
    assert ours.beta_at(10, 0.0) == pytest.approx(1.8)
    assert ours.beta_at(10, 1.0) == ours.beta_at(11, 0.0) == 2.0
    theirs = library.MVAE(library.MVAEConfig(**FIELDS | {"warmup": 10, "beta": 2.0})).eval()
    losses = []
    for epoch in (9, 10, 11):
        torch.manual_seed(0)
        losses.append(float(theirs(library.Complete(rows(4)), epoch=epoch).loss.detach()))
    assert losses[0] != losses[1] == losses[2]


@row('`decoders_dist={"m": function}`')
def test_likelihoods_of_functions(library: SimpleNamespace) -> None:
    def density(reconstruction: Tensor, x: Tensor) -> Tensor:
        return -(reconstruction - x).abs()

    fields = FIELDS | {"decoders_dist": DISTS | {"vector": density}}
    assert bool(MVAE(MVAEConfig(**fields))(rows(3)).loss.isfinite())
    with pytest.raises((ValueError, AttributeError)):
        library.MVAE(library.MVAEConfig(**fields))


@row('`cond_mod=[]`, `cond_mod=["smell"]`')
def test_wrong_conditions(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    x = library.Complete(rows(3))
    for wrong, message in (([], "no modality to condition on"), (["smell"], "unknown modality 'smell'")):
        with pytest.raises(IndexError):
            theirs.encode(x, wrong)
        with pytest.raises(ValueError, match=message):
            ours.encode(x, wrong)


@row("default networks")
def test_default_networks_differ(theirs: Any) -> None:
    def linear(network: nn.Module) -> list[int]:
        return [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]

    ours = MVAE(MVAEConfig(**FIELDS))
    assert linear(theirs.decoders["vector"]) == [512, 5]
    assert linear(ours.decoders["vector"]) == [512, 512, 5]
