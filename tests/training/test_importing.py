"""A model that MultiVae saved gives the same results after the import."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models_store.folder import names, newest, open_bundle, publish
from models_store.fusion import Gaussian, product
from tests.docs.blocks import elsewhere, in_bash
from tests.training.reference import needs_reference, reference
from training.errors import ImportRefused
from training.export import OnnxGraphs
from training.importing import read_saved, to_bundle

DIMS = {"image": (1, 2, 3), "vector": (4,), "label": (3,)}
FIELDS = {
    "n_modalities": 3,
    "latent_dim": 2,
    "input_dims": DIMS,
    "decoders_dist": {"image": "bernoulli", "vector": "laplace", "label": "categorical"},
    "decoder_dist_params": {"vector": {"scale": 0.75}},
}
SUBSETS = [list(names) for size in (1, 2, 3) for names in itertools.combinations(DIMS, size)]


def rows(n: int) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        "image": torch.rand(n, 1, 2, 3).round(),
        "vector": torch.randn(n, 4),
        "label": torch.arange(n) % 3,
    }


@pytest.fixture
def saved(tmp_path: Path) -> tuple[SimpleNamespace, Any, Path]:
    library = reference()
    torch.manual_seed(0)
    model = library.MVAE(library.MVAEConfig(**FIELDS)).eval()
    model.save(str(tmp_path / "theirs"))
    return library, model, tmp_path / "theirs"


@needs_reference
def test_posteriors_and_joint_nll_are_those_of_the_original(saved: tuple[SimpleNamespace, Any, Path]) -> None:
    library, theirs, folder = saved
    ours, x = read_saved(folder).model, rows(7)
    their_rows = library.Complete({**x, "label": nn.functional.one_hot(x["label"], 3).float()})
    for subset in SUBSETS:
        expected = theirs.compute_mu_log_var_subset(their_rows, subset)
        torch.testing.assert_close(ours.compute_mu_log_var_subset(x, subset), expected)
    torch.manual_seed(3)
    nll = ours.compute_joint_nll(x, K=100, batch_size_K=100)
    torch.manual_seed(3)
    torch.testing.assert_close(nll, theirs.compute_joint_nll(their_rows, K=100), rtol=1e-5, atol=1e-4)


@needs_reference
def test_what_is_published_answers_as_the_original(
    saved: tuple[SimpleNamespace, Any, Path], tmp_path: Path
) -> None:
    library, theirs, folder = saved
    manifest, files = to_bundle(read_saved(folder), "theirs", 1, folder)
    bundle = open_bundle(publish(tmp_path / "store", manifest, files))
    graphs = OnnxGraphs(bundle.manifest, {name: bundle.read(name) for name in bundle.manifest.files})
    x = rows(5)
    experts = [graphs.encode(name, x[name].numpy()) for name in bundle.manifest.names]
    stacked = Gaussian(np.stack([e.mu for e in experts]), np.stack([e.log_var for e in experts]))
    posterior = product(stacked, np.ones((3, 5), bool))
    their_rows = library.Complete({**x, "label": nn.functional.one_hot(x["label"], 3).float()})
    mu, log_var = theirs.compute_mu_log_var_subset(their_rows, list(DIMS))
    np.testing.assert_allclose(posterior.mu, mu.detach().numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(posterior.log_var, log_var.detach().numpy(), rtol=1e-4, atol=1e-4)
    assert bundle.manifest.trained["imported"] == "theirs"


@needs_reference
def test_the_command_of_the_readme_publishes_it(
    saved: tuple[SimpleNamespace, Any, Path], tmp_path: Path
) -> None:
    saved[2].rename(tmp_path / "folder-that-MVAE.save-wrote")
    in_bash(elsewhere("README.md", "training/test_importing.py"), tmp_path)
    (name,) = names(tmp_path / "store")
    assert open_bundle(newest(tmp_path / "store", name)).manifest.names == tuple(DIMS)


class Plain(nn.Linear):
    pass


def own_networks(config: Mapping[str, Any]) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    (name,) = config["input_dims"] or ["a"]
    return {name: Plain(2, 2 * config["latent_dim"])}, {name: Plain(config["latent_dim"], 2)}


def written(folder: Path, **changes: Any) -> Path:
    """A model of one modality with networks of its own, and a pickle that must never be opened."""
    config = {
        "name": "MVAEConfig",
        "n_modalities": 1,
        "latent_dim": 3,
        "input_dims": {"a": [2]},
        "custom_architectures": ["encoders", "decoders"],
        **changes,
    }
    (folder / "model_config.json").write_text(json.dumps(config))
    encoders, decoders = own_networks(config)
    both = nn.ModuleDict({"encoders": nn.ModuleDict(encoders), "decoders": nn.ModuleDict(decoders)})
    torch.save({"model_state_dict": both.state_dict()}, folder / "model.pt")
    (folder / "encoders.pkl").write_bytes(b"cposix\n_exit\n(I1\ntR.")  # ends the process if it is opened
    return folder


def saved_with(folder: Path, **changes: Any) -> Path:
    """The same folder, its configuration changed after the weights were saved."""
    path = written(folder) / "model_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_networks_of_its_own_come_from_an_import_path_never_from_a_pickle(tmp_path: Path) -> None:
    model = read_saved(written(tmp_path), f"{__name__}:own_networks").model
    stored = torch.load(tmp_path / "model.pt", weights_only=True)["model_state_dict"]
    assert torch.equal(model.encoders["a"].get_parameter("weight"), stored["encoders.a.weight"])


def test_a_model_file_that_is_more_than_tensors_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"model_state_dict": Path}, protocol=2))
    with pytest.raises(ImportRefused, match=r"model.pt is damaged, or holds more than tensors"):
        read_saved(tmp_path, f"{__name__}:own_networks")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "the model has encoders and decoders of its own: name a function that makes them, --networks"),
        ({"name": "MMVAEConfig"}, "is of 'MMVAEConfig'; only an MVAE, of 'MVAEConfig', can be imported"),
        ({"input_dims": None}, "has no input_dims: write the shape of every modality there"),
        ({"decoders_dist": {"a": "gauss"}}, "decoders_dist of 'a' is 'gauss', which is not known"),
        ({"custom_architectures": []}, "model.pt does not fit the networks"),
        ({"latent_dim": float("nan")}, "latent_dim: Input should be a valid integer"),
        ({"latent_dim": "4"}, "latent_dim: Input should be a valid integer, got '4'"),
        ({"latent_dim": True}, "latent_dim: Input should be a valid integer"),
        ({"latent_dim": -4}, "latent_dim: Input should be greater than 0, got -4"),
        ({"latent_dim": None}, "latent_dim: Input should be a valid integer, got null"),
        ({"latent_dim": 10**12, "custom_architectures": []}, r"latent_dim is 1e\+12, too large for model.pt"),
        ({"input_dims": {"a": [10**9, 10**9]}, "custom_architectures": []}, "input_dims of 'a' is 1e"),
        ({"input_dims": "abc"}, "input_dims: Input should be a"),
        ({"input_dims": {"a": None}}, "input_dims.a: Input should be a valid"),
        ({"input_dims": {"a": []}}, "input_dims.a: Tuple should have at least 1 item"),
        ({"input_dims": {"a": ["2"]}}, "input_dims.a.0: Input should be a valid integer"),
        ({"decoders_dist": ["normal"]}, "decoders_dist: Input should be a"),
        ({"decoders_dist": {"a": ["normal"]}}, "decoders_dist.a: Input should be a valid string"),
        ({"decoder_dist_params": {"a": 1}}, "decoder_dist_params.a: Input should be a"),
        ({"decoder_dist_params": {"b": {"scale": 1}}, "custom_architectures": []}, "model_config.json|fit"),
        ({"custom_architectures": "encoders"}, "custom_architectures: Input should be a valid"),
        ({"rescale_factors": {"a": "x"}}, "rescale_factors.a: Input should be a valid number"),
        ({"k": -1}, "k: Input should be greater than or equal to 0"),
        ({"beta": float("inf")}, "beta: Input should be a finite number"),
    ],
)
def test_what_cannot_be_imported_says_why(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ImportRefused, match=message):
        read_saved(saved_with(tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [("[" * 100_000, "model_config.json is no JSON"), ('{"name":"\xff', "model_config.json is no JSON")],
)
def test_a_configuration_that_cannot_be_parsed_is_refused(tmp_path: Path, content: str, message: str) -> None:
    written(tmp_path)
    (tmp_path / "model_config.json").write_bytes(content.encode("latin1"))
    with pytest.raises(ImportRefused, match=message):
        read_saved(tmp_path)


@pytest.mark.parametrize("state", [[1, 2], None, {"a": 1}, "tar"], ids=str)
def test_weights_that_are_not_tensors_by_name_are_refused(tmp_path: Path, state: Any) -> None:
    written(tmp_path)
    torch.save({"model_state_dict": state}, tmp_path / "model.pt")
    if state == "tar":
        (tmp_path / "model.pt").write_bytes(b"ustar" * 400)
    with pytest.raises(ImportRefused, match=r"model\.pt"):
        read_saved(tmp_path, f"{__name__}:own_networks")


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"holds no model: there is no model_config\.json"):
        read_saved(tmp_path)


def test_a_modality_whose_name_no_bundle_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"model_config\.json: modality 'A': String should match pattern"):
        read_saved(written(tmp_path, input_dims={"A": [2]}), f"{__name__}:own_networks")
