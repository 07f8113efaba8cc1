"""Models go to the Hugging Face Hub and come back, without a pickle."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from tests.training.hub import LARGE, Hub, hub
from training.model import MVAE, MVAEConfig

# huggingface_hub passes bytes of LFS to httpx in a way that this deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw:DeprecationWarning")

DIMS = {"image": (1, 4, 4), "vector": (5,)}
INPUTS = {"image": torch.rand(3, 1, 4, 4), "vector": torch.rand(3, 5)}


def fresh() -> MVAE:
    return MVAE(MVAEConfig(n_modalities=2, latent_dim=3, input_dims=DIMS))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", "hf_key")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks Git LFS
    with hub() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        monkeypatch.setattr(
            huggingface_hub.constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            server.address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield server


def test_a_model_comes_back_as_it_was_pushed(server: Hub) -> None:
    model = fresh().eval()
    address = model.push_to_hf_hub("me/mvae")
    assert address.startswith(f"{server.address}/me/mvae/commit/")
    assert {*server.repositories["me/mvae"]} == {"README.md", "model_config.json", "model.safetensors"}
    assert b"| image | 1 \xc3\x97 4 \xc3\x97 4 |" in server.repositories["me/mvae"]["README.md"]
    same = MVAE.load_from_hf_hub("me/mvae")
    assert same.model_config == model.model_config
    assert not same.training
    for name in DIMS:
        expected = model.compute_mu_log_var_subset(INPUTS, [name])
        torch.testing.assert_close(same.compute_mu_log_var_subset(INPUTS, [name]), expected)


def test_weights_above_10_mb_go_by_lfs_and_once(server: Hub) -> None:
    dims = {"image": (64, 64), "vector": (5,)}
    model = MVAE(MVAEConfig(n_modalities=2, latent_dim=3, input_dims=dims)).eval()
    model.push_to_hf_hub("me/large")
    (weights,) = server.objects.values()
    assert len(weights) > LARGE
    assert server.repositories["me/large"]["model.safetensors"] == weights
    model.push_to_hf_hub("me/again")
    assert len(server.objects) == 1
    same = MVAE.load_from_hf_hub("me/again")
    states = (model.state_dict(), same.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_second_push_replaces_the_model(server: Hub) -> None:
    first, second = fresh(), fresh()
    first.push_to_hf_hub("me/mvae")
    weights = server.repositories["me/mvae"]["model.safetensors"]
    second.push_to_hf_hub("me/mvae")
    assert server.repositories["me/mvae"]["model.safetensors"] != weights


def test_what_cannot_be_loaded_is_refused(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no pickle is read"):
        MVAE.load_from_hf_hub("me/mvae", allow_pickle=True)
    server.repositories["me/theirs"] = {"model_config.json": b"{}", "model.pt": b"a pickle"}
    with pytest.raises(ValueError, match="is not the configuration of an MVAE"):
        MVAE.load_from_hf_hub("me/theirs")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'anyview\[hub\]'"):
        MVAE.load_from_hf_hub("me/mvae")
