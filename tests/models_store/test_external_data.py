"""A graph whose numbers lie in another file is refused, however they are hidden."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from models_store.folder import open_bundle
from tests.models_store.bundles import graph, listed, refusal


def external_weight() -> onnx.TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../passwords")
    return tensor


def with_graph(folder: Path, content: bytes) -> Path:
    (folder / "image.decoder.onnx").write_bytes(content)
    return listed(folder, "image.decoder.onnx", content)


def test_a_graph_with_data_elsewhere_is_refused_by_name(bundle: Path) -> None:
    content = graph("h", external_weight()).SerializeToString()
    assert refusal(with_graph(bundle, content)).endswith(
        "image.decoder.onnx refers to data outside of its own file"
    )


def test_a_graph_with_data_elsewhere_is_refused_however_its_fields_are_ordered(bundle: Path) -> None:
    content = graph("h", external_weight()).SerializeToString()
    entry = external_weight().external_data[0].SerializeToString()
    key, value = entry[: 2 + len("location")], entry[2 + len("location") :]
    swapped = content.replace(key + value, value + key)
    assert onnx.load_model_from_string(swapped).graph.initializer[0] == external_weight()
    assert "image.decoder.onnx" in refusal(with_graph(bundle, swapped))


def in_a_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["w"], value=external_weight()))


def in_a_branch(model: onnx.ModelProto) -> None:
    branch = graph("h", external_weight()).graph
    model.graph.node.append(onnx.helper.make_node("If", ["c"], ["b"], then_branch=branch))


def in_one_of_many_graphs(model: onnx.ModelProto) -> None:
    branches = [graph().graph, graph("h", external_weight()).graph]
    model.graph.node.append(onnx.helper.make_node("Custom", ["x"], ["b"], branches=branches))


def in_a_sparse_weight(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add(values=external_weight(), dims=[9])


def in_training(model: onnx.ModelProto) -> None:
    model.training_info.add(initialization=graph("h", external_weight()).graph)


def in_a_function(model: onnx.ModelProto) -> None:
    node = onnx.helper.make_node("Constant", [], ["w"], value=external_weight())
    model.functions.append(onnx.FunctionProto(name="f", domain="own", output=["w"], node=[node]))


@pytest.mark.parametrize(
    "hide",
    [in_a_constant, in_a_branch, in_one_of_many_graphs, in_a_sparse_weight, in_a_function, in_training],
)
def test_a_graph_with_data_elsewhere_is_refused_however_deep_it_hides(
    bundle: Path, hide: Callable[[onnx.ModelProto], None]
) -> None:
    model = graph()
    hide(model)
    assert "image.decoder.onnx" in refusal(with_graph(bundle, model.SerializeToString()))


@pytest.mark.parametrize(
    "hide",
    [
        lambda model, graph: (
            b"\x9b\x06\x9c\x06" + model + b"\x3a" + graph
        ),  # after a group, which is obsolete
        lambda model, graph: model + b"\xba\x80\x80\x80\x10" + graph,  # under a number of more than 32 bits
    ],
    ids=["group", "long number"],
)
def test_bytes_that_a_runtime_reads_more_kindly_than_we_do_are_refused(
    bundle: Path, hide: Callable[[bytes, bytes], bytes]
) -> None:
    """onnxruntime opens both, and finds the tensor whose numbers lie elsewhere."""
    model = graph("h", external_weight())
    content = model.graph.SerializeToString()
    model.ClearField("graph")
    length = bytes([len(content) & 127 | 128, len(content) >> 7])
    hidden = hide(model.SerializeToString(), length + content)
    assert "image.decoder.onnx" in refusal(with_graph(bundle, hidden))


@pytest.mark.parametrize("content", [b"\xff", b"<html>", graph().SerializeToString()[:-1]])
def test_a_file_that_is_no_graph_is_refused_by_name(bundle: Path, content: bytes) -> None:
    assert "image.decoder.onnx" in refusal(with_graph(bundle, content))


@pytest.mark.parametrize("inner", ["h", "location"])
def test_a_graph_of_its_own_is_opened_whatever_its_values_are_called(bundle: Path, inner: str) -> None:
    content = graph(inner).SerializeToString()
    assert open_bundle(with_graph(bundle, content)).read("image.decoder.onnx") == content
