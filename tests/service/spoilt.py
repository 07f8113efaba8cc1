"""Bundles whose graphs do harm: one computes without end, one takes more memory than there is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models_store.folder import open_bundle
from models_store.stores import Store
from tests.service.changing import publish

ENCODER = "label.encoder.onnx"
ROUNDS = 2**62


def _published(
    place: Store, bundle_folder: Path, number: int, name: str, graph: onnx.ModelProto, **files: bytes
) -> None:
    publish(place, bundle_folder, number, name, label_encoder_onnx=graph.SerializeToString(), **files)


def _encoder(bundle_folder: Path) -> onnx.ModelProto:
    """The encoder of labels, whose output ``mu`` is renamed to ``before``."""
    model = onnx.load_from_string(open_bundle(bundle_folder).read(ENCODER))
    for node in model.graph.node:
        node.output[:] = ["before" if name == "mu" else name for name in node.output]
        node.input[:] = ["before" if name == "mu" else name for name in node.input]
    return model


def looping(
    place: Store,
    bundle_folder: Path,
    number: int,
    name: str,
    label: int | None = None,
    spare_golden: bool = False,
    rows: int | None = None,
) -> None:
    """Publishes a model whose encoder of labels computes for years.

    Arguments:
        place: Store.
        bundle_folder: A version of the tiny model.
        number: New version.
        name: New name.
        label: The only label for which it does; None: it always does.
        spare_golden: Whether to leave rows of that label out of the golden values.
        rows: The only size of a batch for which it does; None: any.
    """
    model = _encoder(bundle_folder)
    graph = model.graph
    flags = [helper.make_tensor_value_info(one, TensorProto.BOOL, []) for one in ("c", "c2")]
    values = [helper.make_tensor_value_info(one, TensorProto.FLOAT, []) for one in ("v", "v2")]
    index = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    copies = [helper.make_node("Identity", [one], [f"{one}2"]) for one in ("c", "v")]
    body = helper.make_graph(copies, "body", [index, flags[0], values[0]], [flags[1], values[1]])
    constants = {"rounds": np.array(ROUNDS), "go": np.array(True), "zero": np.float32(0)}
    rounds = "rounds"
    if label is not None or rows is not None:
        constants["only"] = np.array(rows if label is None else label)
        rounds = "some"
        if label is None:
            graph.node.append(helper.make_node("Shape", ["x"], ["of"]))
        graph.node.extend(
            [
                helper.make_node("Equal", ["of" if label is None else "x", "only"], ["is"]),
                helper.make_node("Cast", ["is"], ["one"], to=TensorProto.INT64),
                helper.make_node("ReduceMax", ["one"], ["any"], keepdims=0),
                helper.make_node("Mul", ["any", "rounds"], ["some"]),
            ]
        )
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), one) for one, value in constants.items()
    )
    graph.node.extend(
        [
            helper.make_node("Loop", [rounds, "go", "zero"], ["nothing"], body=body),
            helper.make_node("Add", ["before", "nothing"], ["mu"]),
        ]
    )
    files = {}
    if spare_golden:
        golden = open_bundle(bundle_folder).read("golden.npz")
        with np.load(io.BytesIO(golden)) as values:
            kept = values["label.x"] != label
            stream = io.BytesIO()
            np.savez(stream, **{key: value[kept] for key, value in values.items()})
        files["golden_npz"] = stream.getvalue()
    _published(place, bundle_folder, number, name, model, **files)


def hungry(place: Store, bundle_folder: Path, number: int, name: str, numbers: int) -> None:
    """Publishes a model whose encoder of labels makes an array of so many float32."""
    model = _encoder(bundle_folder)
    model.graph.initializer.append(numpy_helper.from_array(np.array([numbers]), "many"))
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["many"], ["zeros"]),
            helper.make_node("ReduceMax", ["zeros"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["before", "nothing"], ["mu"]),
        ]
    )
    _published(place, bundle_folder, number, name, model)
