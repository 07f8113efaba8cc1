"""Torch to ONNX: all networks of a model are translated together, and then taken apart.

``torch.onnx.export`` reads its whole table of operators again whenever it is called, and that takes longer
than to translate a network.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from torch import Tensor, nn
from torch.export import Dim

from models_store.manifest import Modality, decoder_file, encoder_file
from training.errors import ExportError
from training.model import MVAE

OPSET = 20
ENCODED = ("mu", "log_var")

NumpyArray = np.ndarray[Any, np.dtype[Any]]


class _AllGraphs(nn.Module):
    """Every encoder on an input of its own, and every decoder on one z."""

    def __init__(self, model: MVAE, modalities: Sequence[Modality]) -> None:
        super().__init__()
        self.model = model
        self.modalities = modalities
        self.outputs = [f"{m.name}.{output}" for m in modalities for output in (*ENCODED, *m.parameters)]

    def forward(self, z: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: list[Tensor] = []
        for modality, x in zip(self.modalities, inputs, strict=True):
            expert = self.model.expert(modality.name, x)
            parameters = self.model.parameters_of(modality.name, z)
            outputs += [expert.mu, expert.log_var, *(parameters[name] for name in modality.parameters)]
        return tuple(outputs)


def to_onnx(
    model: MVAE, modalities: Sequence[Modality], inputs: Mapping[str, NumpyArray], z: NumpyArray
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
    whole = _translated(_AllGraphs(model, modalities).eval(), inputs, z)
    files = {}
    for modality in modalities:
        name = modality.name
        files[encoder_file(name)] = _part(whole, {f"{name}.x": "x"}, _prefixed(name, ENCODED))
        files[decoder_file(name)] = _part(whole, {"z": "z"}, _prefixed(name, modality.parameters))
    return files


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
        )
    if program is None:
        raise ExportError(f"torch gave no ONNX graphs of {', '.join(names)}")
    return program.model


def _prefixed(name: str, outputs: Sequence[str]) -> dict[str, str]:
    return {f"{name}.{output}": output for output in outputs}


def _part(whole: onnx_ir.Model, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> bytes:
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
    return bytes(proto.SerializeToString())


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
