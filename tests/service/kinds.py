"""A published model of every kind of modality, with linear graphs that are drawn by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models_store import golden
from models_store.folder import publish as publish_bundle
from models_store.likelihoods import Parameters
from models_store.linear import EncoderOutput
from models_store.manifest import Manifest, Modality, decoder_file, encoder_file
from models_store.tables import TrainingTable
from service.engine.sessions import Session
from tests.models_store.examples import (
    NumpyArray,
    array,
    audio,
    category,
    counts,
    image,
    manifest,
    mixed_table,
    with_columns,
)

DIMENSION = 3
FLOAT = TensorProto.FLOAT


def modalities() -> list[Modality]:
    return [
        image(6, 4),
        audio(),
        with_columns("height", "mass", "age").model_copy(update={"name": "body"}),
        with_columns("age", "dose").model_copy(update={"name": "visit"}),
        counts(2),
        category("cat", "dog", "owl").model_copy(update={"name": "animal"}),
        array("points", 3, 2).model_copy(update={"name": "stroke"}),
        array("tensor", 2, 2).model_copy(update={"name": "field"}),
        image(3, 5).with_changes({"name": "clip", "kind": "video", "shape": (4, 3, 5)}),
        mixed_table(),
    ]


def publish(
    root: Path,
    views: Sequence[Modality] | None = None,
    /,
    tables: Sequence[TrainingTable] = (),
    metrics: Mapping[str, Any] = MappingProxyType({}),
    **more: bytes,
) -> Path:
    """Writes ``kinds/1`` into a store.

    Arguments:
        root: The folder of the store.
        views: Its modalities; usually one of every kind.
        tables: Tables that the manifest describes.
        metrics: Metrics of the manifest.
        more: Further files, an underscore for every dot.
    """
    fields = {"name": "kinds", "latent_dim": DIMENSION, "tables": tables, "metrics": dict(metrics)}
    described = manifest(modalities=views or modalities(), **fields)
    rng = np.random.default_rng(0)
    files = {}
    for modality in described.modalities:
        files[encoder_file(modality.name)] = _encoder(modality, rng)
        files[decoder_file(modality.name)] = _decoder(modality, rng)
    values = {modality.name: _values(modality, rng) for modality in described.modalities}
    present = golden.presence(8, len(values), rng)
    noise = rng.standard_normal((8, DIMENSION), np.float32)
    made = golden.make(described, values, present, noise, _Graphs(files))
    files |= {golden.FILE: golden.to_bytes(made), "report/card.md": b"# kinds\n"}
    return publish_bundle(root, described, files | {name.replace("_", "."): more[name] for name in more})


class _Graphs:
    def __init__(self, files: dict[str, bytes]) -> None:
        self._sessions = {name: Session(content) for name, content in files.items()}

    def encode(self, modality: str, x: NumpyArray) -> EncoderOutput:
        outputs = self._sessions[encoder_file(modality)].run(x)
        return EncoderOutput(outputs["mu"], outputs["log_var"])

    def decode(self, modality: str, z: NumpyArray) -> Parameters:
        return self._sessions[decoder_file(modality)].run(z)


def _values(modality: Modality, rng: np.random.Generator) -> NumpyArray:
    if modality.parts:
        columns = [rng.integers(not part.labels, part.labels or 10, 8) for part in modality.parts]
        return np.stack(columns, axis=1).astype(modality.numpy_dtype)
    high = len(modality.labels) if modality.labels else 10
    return rng.integers(0, high, (8, *modality.shape)).astype(modality.numpy_dtype)


def _encoder(modality: Modality, rng: np.random.Generator) -> bytes:
    """mu = W x, NaN as 0; the variance is 1/4."""
    cells = math.prod(modality.shape)
    weight = rng.normal(0, 0.01 / math.sqrt(cells), (cells, DIMENSION))
    kind = helper.np_dtype_to_tensor_dtype(modality.numpy_dtype)
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=FLOAT),
        helper.make_node("IsNaN", ["float"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "float"], ["known"]),
        helper.make_node("Reshape", ["known", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["mu"]),
        helper.make_node("Mul", ["mu", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "log_quarter"], ["log_var"]),
    ]
    constants: dict[str, Any] = {
        "zero": np.float32(0),
        "flat_shape": np.array([-1, cells]),
        "weight": weight.astype(np.float32),
        "log_quarter": np.float32(math.log(0.25)),
    }
    x = helper.make_tensor_value_info("x", kind, ["batch", *modality.shape])
    return _graph(nodes, constants, x, {"mu": (DIMENSION,), "log_var": (DIMENSION,)})


def _decoder(modality: Modality, rng: np.random.Generator) -> bytes:
    """The first parameter is W z + b, the second -1."""
    shape = modality.parameter_shape()
    cells = math.prod(shape)
    first, *rest = modality.parameters
    nodes = [
        helper.make_node("MatMul", ["z", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], [first]),
    ]
    constants: dict[str, Any] = {
        "weight": rng.normal(0, 1, (DIMENSION, cells)).astype(np.float32),
        "bias": rng.normal(0, 1, cells).astype(np.float32),
        "shape": np.array([-1, *shape]),
    }
    for name in rest:
        nodes.append(helper.make_node("Mul", [first, "zero"], ["nothing"]))
        nodes.append(helper.make_node("Sub", ["nothing", "one"], [name]))
        constants |= {"zero": np.float32(0), "one": np.float32(1)}
    z = helper.make_tensor_value_info("z", FLOAT, ["batch", DIMENSION])
    return _graph(nodes, constants, z, dict.fromkeys(modality.parameters, shape))


def _graph(nodes: list[Any], constants: dict[str, Any], x: Any, outputs: dict[str, tuple[int, ...]]) -> bytes:
    infos = [helper.make_tensor_value_info(name, FLOAT, ["batch", *shape]) for name, shape in outputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "linear", [x], infos, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def described() -> Manifest:
    return manifest(name="kinds", latent_dim=DIMENSION, modalities=modalities())
