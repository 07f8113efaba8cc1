"""Torch to ONNX: all networks of a model are translated together, and then taken apart.

``torch.onnx.export`` reads its whole table of operators again whenever it is called, and that takes longer
than to translate a network. Categories of equal networks are translated once: a table may have fifty of them.
"""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from onnx import numpy_helper
from onnxscript.optimizer import optimize_ir
from torch import Tensor, nn
from torch.export import Dim

from models_store.linear import NATURAL
from models_store.manifest import Modality, decoder_file, encoder_file
from training.coders import Coders, module_key
from training.errors import ExportError
from training.networks.linear import LinearEncoder
from training.networks.mlp import MLPDecoder, MLPEncoder

OPSET = 20
ENCODED = ("mu", "log_var")

NumpyArray = np.ndarray[Any, np.dtype[Any]]


class _AllGraphs(nn.Module):
    """Every encoder on an input of its own, and every decoder on one z."""

    def __init__(self, model: Coders, modalities: Sequence[Modality]) -> None:
        super().__init__()
        self.model = model
        self.modalities = modalities
        self.encoded = (*ENCODED, NATURAL) if model.linear_members else ENCODED
        self.outputs = [f"{m.name}.{output}" for m in modalities for output in (*self.encoded, *m.parameters)]

    def forward(self, z: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: list[Tensor] = []
        for modality, x in zip(self.modalities, inputs, strict=True):
            expert, natural = self.model.encoded(modality.name, x)
            parameters = self.model.parameters_of(modality.name, z)
            outputs += [*expert] if natural is None else [*expert, natural]
            outputs += [parameters[name] for name in modality.parameters]
        return tuple(outputs)


def to_onnx(
    model: Coders, modalities: Sequence[Modality], inputs: Mapping[str, NumpyArray], z: NumpyArray
) -> dict[str, bytes]:
    """The graphs by file, with a dynamic batch axis, without a trace of the machine that made them.

    Arguments:
        model: On the CPU.
        modalities: Those of the model.
        inputs: By modality, at least two rows: (n, *shape).
        z: As many: (n, latent_dim).

    Raises:
        ExportError: torch gave none.
    """
    alike = _alike(model, modalities)
    different = [modality for modality in modalities if alike[modality.name] == modality.name]
    graphs = _AllGraphs(model, different)
    whole = _translated(graphs.eval(), inputs, z)
    files: dict[str, bytes] = {}
    for modality in modalities:
        name, first = modality.name, alike[modality.name]
        encoder = _part(whole, {f"{first}.x": "x"}, _prefixed(first, graphs.encoded))
        decoder = _part(whole, {"z": "z"}, _prefixed(first, modality.parameters))
        if name != first:
            if not (_keeps_names(encoder, first) and _keeps_names(decoder, first) and _differ(model, first)):
                files |= to_onnx(model, [modality], inputs, z)
                continue
            encoder, decoder = (_with_weights_of(model, part, first, name) for part in (encoder, decoder))
        files[encoder_file(name)] = encoder.SerializeToString()
        files[decoder_file(name)] = decoder.SerializeToString()
    return files


def _alike(model: Coders, modalities: Sequence[Modality]) -> dict[str, str]:
    """By name, the first modality whose networks differ in weights alone; itself unless both are categories.

    Only linear and fully connected networks without constants of their own count, in whose graphs every
    weight keeps its name.
    """
    first: dict[str, str] = {}
    alike = {}
    for modality in modalities:
        name = modality.name
        networks = model.encoders[module_key(name)], model.decoders[module_key(name)]
        pair = [getattr(part, "structures", [part]) for part in networks]  # of an ensemble: of its members
        if modality.labels is None or not all(map(_is_plain, itertools.chain(*pair))):
            alike[name] = name
        else:
            structure = f"{pair} {modality.dtype} {modality.parameters} {modality.likelihood}"
            alike[name] = first.setdefault(structure, name)
    return alike


def _is_plain(network: nn.Module) -> bool:
    inputs = [network.inputs] if isinstance(network, LinearEncoder) else [network]
    return isinstance(network, MLPEncoder | MLPDecoder | LinearEncoder) and not any(
        True for part in inputs for _ in part.buffers()
    )


def _keeps_names(part: onnx.ModelProto, name: str) -> bool:
    """Whether every weight in a graph has the name of the network's: equal ones of others may replace it."""
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    weights = [item for item in part.graph.initializer if item.data_type in floats and item.dims]
    return all(f".{module_key(name)}." in item.name for item in weights)


def _differ(model: Coders, name: str) -> bool:
    """Whether no two weights of a modality are equal: the exporter would keep one of them, under one name."""
    weights = [
        value
        for key, value in (*model.named_parameters(), *model.named_buffers())
        if key.startswith((f"encoders.{module_key(name)}.", f"decoders.{module_key(name)}."))
        and value.is_floating_point()
        and value.ndim
    ]
    return not any(torch.equal(one, other) for one, other in itertools.combinations(weights, 2))


def _with_weights_of(model: Coders, part: onnx.ModelProto, first: str, name: str) -> onnx.ModelProto:
    """A graph of modality ``first`` with the names and weights of modality ``name``."""
    weights = {f"model.{key}": value for key, value in (*model.named_parameters(), *model.named_buffers())}
    renamed: dict[str, str] = {}
    for item in part.graph.initializer:
        before, here, after = item.name.partition(f".{module_key(first)}.")
        if here:
            renamed[item.name] = key = f"{before}.{module_key(name)}.{after}"
            item.CopyFrom(numpy_helper.from_array(weights[key].numpy(force=True), key))
    for value in part.graph.value_info:
        value.name = renamed.get(value.name, value.name)
    for node in part.graph.node:
        node.input[:] = [renamed.get(key, key) for key in node.input]
    return part


def _translated(graphs: _AllGraphs, inputs: Mapping[str, NumpyArray], z: NumpyArray) -> onnx_ir.Model:
    """One graph from ``z`` and every ``NAME.x`` to every ``NAME.OUTPUT``."""
    names = [modality.name for modality in graphs.modalities]
    # Messages of the exporter about its own passes do not help users.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.onnx.export(
            graphs,
            tuple(torch.from_numpy(batch[:2]) for batch in (z, *(inputs[name] for name in names))),
            input_names=["z", *(f"{name}.x" for name in names)],
            output_names=graphs.outputs,
            # An axis of its own for each: no graph may ask the input of another how many rows there are.
            dynamic_shapes=({0: Dim("batch")}, tuple({0: Dim(f"batch_of_{name}")} for name in names)),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=False,
        )
    if program is None:
        raise ExportError(f"torch gave no ONNX graphs of {', '.join(names)}")
    optimize_ir(program.model, should_fold=_unless_a_weight)
    return program.model


def _unless_a_weight(node: onnx_ir.Node) -> bool | None:
    """False for what is computed from weights, so that these keep the layout and name they have in torch."""
    values = [value.const_value for value in node.inputs if value is not None and value.is_initializer()]
    return (
        False if any(x is not None and x.dtype.is_floating_point() and x.size > 1 for x in values) else None
    )


def _prefixed(name: str, outputs: Sequence[str]) -> dict[str, str]:
    return {f"{name}.{output}": output for output in outputs}


def _part(whole: onnx_ir.Model, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> onnx.ModelProto:
    """The graph from some inputs to some outputs, which get names of their own."""
    graph = onnx_ir.convenience.extract(whole.graph, list(inputs), list(outputs))
    for value in (*graph.inputs, *graph.outputs):
        value.name = {**inputs, **outputs}[str(value.name)]
    model = onnx_ir.Model(
        graph,
        ir_version=whole.ir_version,
        producer_name=whole.producer_name,
        producer_version=whole.producer_version,
        functions=tuple(whole.functions.values()),
    )
    proto = onnx_ir.to_proto(model)
    for listed in (proto.graph.initializer, proto.graph.value_info):  # which come in any order
        listed.sort(key=lambda item: item.name)
    _forget_origin(proto)
    onnx.checker.check_model(proto)
    return proto


def _forget_origin(proto: onnx.ModelProto) -> None:
    """Removes stack traces and paths, which the exporter writes beside every node."""
    graphs = [proto.graph, *proto.functions]
    del proto.metadata_props[:]
    for graph in graphs:
        graph.doc_string = ""
        del graph.metadata_props[:]
        for item in [*graph.node, *graph.value_info, *getattr(graph, "initializer", [])]:
            item.doc_string = ""
            del item.metadata_props[:]
    for value in [*proto.graph.input, *proto.graph.output]:
        value.doc_string = ""
        del value.metadata_props[:]
