"""A bundle with random weights: a 784-512-512-64 encoder for each of one or several images."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models_store import golden
from models_store.arrays import Array
from models_store.folder import open_bundle
from models_store.folder import publish as publish_bundle
from models_store.manifest import Manifest, Modality, decoder_file, encoder_file
from service.engine.sessions import Session
from service.models.loading import SessionGraphs

LATENT = 64
SHAPE = (28, 28)
PIXELS = 784
NAME = "bench"


def modality(name: str) -> Modality:
    return Modality(
        name=name,
        kind="image",
        shape=SHAPE,
        dtype="uint8",
        likelihood="bernoulli",
        range=(0, 255),
    )


def encoder(rng: np.random.Generator) -> bytes:
    """x (batch, 28, 28) uint8 -> 512 -> 512 -> mu, log_var (batch, 64)."""
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["h0"]),
    ]
    weights = [
        numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
        numpy_helper.from_array(np.array([-1, PIXELS]), "flat"),
    ]
    nodes += [*_layer(rng, weights, "h0", "a1", PIXELS, 512), helper.make_node("Relu", ["a1"], ["h1"])]
    nodes += [*_layer(rng, weights, "h1", "a2", 512, 512), helper.make_node("Relu", ["a2"], ["h2"])]
    nodes += _layer(rng, weights, "h2", "mu", 512, LATENT)
    nodes += _layer(rng, weights, "h2", "log_var", 512, LATENT)
    return _graph(nodes, weights, ("x", TensorProto.UINT8, SHAPE), {"mu": (LATENT,), "log_var": (LATENT,)})


def decoder(rng: np.random.Generator) -> bytes:
    """z (batch, 64) -> logits (batch, 28, 28)."""
    weights = [numpy_helper.from_array(np.array([-1, *SHAPE]), "picture")]
    nodes = _layer(rng, weights, "z", "flat", LATENT, PIXELS)
    nodes.append(helper.make_node("Reshape", ["flat", "picture"], ["logits"]))
    return _graph(nodes, weights, ("z", TensorProto.FLOAT, (LATENT,)), {"logits": SHAPE})


def publish(root: Path, names: Sequence[str], seed: int = 0) -> Path:
    """Publishes ``bench/1`` with these modalities."""
    rng = np.random.default_rng(seed)
    files = {}
    for name in names:
        files[encoder_file(name)], files[decoder_file(name)] = encoder(rng), decoder(rng)
    manifest = Manifest(
        name=NAME,
        version=1,
        created=datetime.now(UTC),
        latent_dim=LATENT,
        modalities=tuple(modality(name) for name in names),
    )
    graphs = SessionGraphs({file: Session(content) for file, content in files.items()})
    rows = 16
    values = golden.make(
        manifest,
        {name: pictures(rng, rows) for name in names},
        golden.presence(rows, len(names), rng),
        rng.standard_normal((rows, LATENT)),
        graphs,
    )
    return publish_bundle(root, manifest, {**files, golden.FILE: golden.to_bytes(values)})


def pictures(rng: np.random.Generator, rows: int) -> Array:
    return rng.integers(0, 256, (rows, *SHAPE), np.uint8)


def _layer(
    rng: np.random.Generator, weights: list[Any], source: str, target: str, inputs: int, outputs: int
) -> list[Any]:
    weight = rng.standard_normal((inputs, outputs)).astype(np.float32) / np.float32(inputs**0.5)
    weights.append(numpy_helper.from_array(weight, f"{target}.weight"))
    weights.append(numpy_helper.from_array(np.zeros(outputs, np.float32), f"{target}.bias"))
    return [helper.make_node("Gemm", [source, f"{target}.weight", f"{target}.bias"], [target])]


def _graph(
    nodes: list[Any],
    weights: list[Any],
    argument: tuple[str, int, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
) -> bytes:
    name, dtype, shape = argument
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info(name, dtype, ["batch", *shape])],
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", *row])
            for output, row in outputs.items()
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def renumbered(folder: Path, version: int, name: str) -> tuple[Manifest, dict[str, bytes]]:
    """Manifest and files of a published version, to be published as another version or model."""
    bundle = open_bundle(folder)
    manifest: Manifest = bundle.manifest.model_copy(update={"version": version, "name": name, "files": {}})
    return manifest, {file: bundle.read(file) for file in bundle.manifest.files}
