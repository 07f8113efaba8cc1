"""The published graphs say what the torch networks say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load

from models_store import golden
from models_store.arrays import Array
from models_store.folder import open_bundle
from models_store.likelihoods import Parameters
from models_store.manifest import Manifest, Modality, decoder_file, encoder_file
from training import data
from training.config import Experiment, Network
from training.errors import ExportError
from training.export import OnnxGraphs, TorchGraphs, check_parity, described
from training.fit import Fitted
from training.graphs import to_onnx
from training.model import MVAE, MVAEConfig
from training.networks import networks_for


def files_of(folder: Path) -> tuple[Manifest, Mapping[str, bytes]]:
    bundle = open_bundle(folder)
    return bundle.manifest, {name: bundle.read(name) for name in bundle.manifest.files}


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("name", ["image", "label"])
def test_every_graph_agrees_with_torch(
    name: str, batch: int, bundle_folder: Path, fitted: Fitted, prepared: data.Prepared
) -> None:
    manifest, files = files_of(bundle_folder)
    ours, theirs = TorchGraphs(fitted.model), OnnxGraphs(manifest, files)
    x = prepared.test.data[name].numpy()[:batch]
    z = np.random.default_rng(batch).standard_normal((batch, manifest.latent_dim), np.float32)
    assert golden.agree(theirs.encode(name, x).mu, ours.encode(name, x).mu)
    assert golden.agree(theirs.encode(name, x).log_var, ours.encode(name, x).log_var)
    assert golden.agree(theirs.decode(name, z)["logits"], ours.decode(name, z)["logits"])


def test_a_graph_that_differs_from_torch_is_not_exported(
    bundle_folder: Path, fitted: Fitted, prepared: data.Prepared
) -> None:
    manifest, files = files_of(bundle_folder)

    class Off(OnnxGraphs):
        def decode(self, modality: str, z: Array) -> Parameters:
            return {"logits": super().decode(modality, z)["logits"] * 1.01}

    x = prepared.test.data["image"].numpy()[:64]
    z = np.ones((64, manifest.latent_dim), np.float32)
    with pytest.raises(ExportError, match="graph of 'image' differs from torch in logits, batch size 1"):
        check_parity(manifest.modality("image"), TorchGraphs(fitted.model), Off(manifest, files), x, z)


def test_the_weights_in_the_bundle_are_those_of_the_model(bundle_folder: Path, fitted: Fitted) -> None:
    _, files = files_of(bundle_folder)
    stored, trained = load(files["weights.safetensors"]), fitted.model.state_dict()
    assert stored.keys() == trained.keys()
    assert all(torch.equal(stored[key], trained[key]) for key in trained)


def test_scaling_and_one_hot_are_part_of_the_graph(bundle_folder: Path) -> None:
    manifest, files = files_of(bundle_folder)
    inputs = {
        name: onnx.load_from_string(files[encoder_file(name)]).graph.input[0].type.tensor_type.elem_type
        for name in manifest.names
    }
    assert inputs == {"image": onnx.TensorProto.UINT8, "label": onnx.TensorProto.INT64}


def test_no_graph_remembers_the_machine_that_made_it(bundle_folder: Path) -> None:
    manifest, files = files_of(bundle_folder)
    for name in manifest.names:
        for content in (files[encoder_file(name)], files[decoder_file(name)]):
            assert not re.search(rb"site-packages|\.py\b|/home|/tmp|Traceback", content)


def test_exported_again_a_graph_is_the_same_byte_for_byte(
    bundle_folder: Path, fitted: Fitted, prepared: data.Prepared
) -> None:
    manifest, files = files_of(bundle_folder)
    rows = {name: x.numpy()[:2] for name, x in prepared.test.data.items()}
    again = to_onnx(fitted.model, manifest.modalities, rows, np.ones((2, manifest.latent_dim), np.float32))
    assert {name: files[name] for name in again} == again


def test_modalities_with_names_of_methods_and_keywords_are_exported() -> None:
    names = ["type", "train", "class", "lambda"]
    model = MVAE(MVAEConfig(4, latent_dim=2, input_dims=dict.fromkeys(names, (3,)))).eval()
    rows = {name: np.full((2, 3), row, np.float32) for row, name in enumerate(names)}
    modalities = [
        Modality(name=name, kind="vector", shape=(3,), dtype="float32", likelihood="normal") for name in names
    ]
    files = to_onnx(model, modalities, rows, np.ones((2, 2), np.float32))
    session = onnxruntime.InferenceSession(files["class.encoder.onnx"])
    expected = model.expert("class", torch.from_numpy(rows["class"])).mu.detach().numpy()
    np.testing.assert_allclose(session.run(["mu"], {"x": rows["class"]})[0], expected, atol=1e-5)


@pytest.mark.parametrize("equal", [False, True], ids=["different weights", "equal weights of one"])
def test_categories_of_equal_networks_are_exported_each_with_weights_of_its_own(equal: bool) -> None:
    labels = {"type": ("a", "b"), "sex": ("f", "m"), "stage": ("1", "2", "3"), "side": ("l", "r")}
    modalities = [
        Modality(name=name, kind="category", shape=(), dtype="int64", likelihood="categorical", labels=texts)
        for name, texts in labels.items()
    ]
    pairs = {m.name: networks_for(m, Network(hidden=(4,)), 2, torch.zeros(2)) for m in modalities}
    if equal:
        for network in (network for pair in pairs.values() for network in pair):
            torch.nn.init.zeros_(network.get_parameter("head.bias"))
    config = MVAEConfig(
        4,
        latent_dim=2,
        input_dims={m.name: m.parameter_shape() for m in modalities},
        decoders_dist=dict.fromkeys(labels, "categorical"),
    )
    encoders, decoders = ({name: pair[half] for name, pair in pairs.items()} for half in (0, 1))
    model = MVAE(config, encoders, decoders).eval()
    z = np.array([[1.0, -2.0], [0.5, 0.0]], np.float32)
    files = to_onnx(model, modalities, dict.fromkeys(labels, np.array([0, 1])), z)
    for name in labels:
        encode = onnxruntime.InferenceSession(files[encoder_file(name)])
        decode = onnxruntime.InferenceSession(files[decoder_file(name)])
        expert = model.expert(name, torch.tensor([0, 1])).mu.detach().numpy()
        logits = model.parameters_of(name, torch.from_numpy(z))["logits"].detach().numpy()
        np.testing.assert_allclose(encode.run(["mu"], {"x": np.array([0, 1])})[0], expert, atol=1e-5)
        np.testing.assert_allclose(decode.run(["logits"], {"z": z})[0], logits, atol=1e-5)


def test_the_manifest_names_every_device_that_trained_the_model(
    experiment: Experiment, prepared: data.Prepared, fitted: Fitted
) -> None:
    (last,) = {report.device for report in fitted.reports}
    reports = [*fitted.reports, replace(fitted.reports[-1], device="another")]
    manifest = described(fitted.model, experiment, prepared, 1, reports)
    assert manifest.trained["devices"] == sorted({last, "another"})


def test_the_manifest_tells_where_the_model_came_from(bundle_folder: Path, experiment: Experiment) -> None:
    manifest, _ = files_of(bundle_folder)
    assert manifest.trained["seed"] == experiment.seed
    assert manifest.trained["data"] == {
        "source": "mnist",
        "train_rows": 900,
        "validation_rows": 100,
        "test_rows": 200,
    }
    assert manifest.trained["versions"]["torch"] == torch.__version__
