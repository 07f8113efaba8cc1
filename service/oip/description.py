"""Metadata of the server and of models, as the protocol defines them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from models_store.manifest import Manifest, Modality
from service.formats.archive import MASK
from service.oip.outputs import outputs_of
from service.oip.tensors import BYTES, NAMES

PLATFORM = "anyview_onnx"
TYPES = {BYTES: "TYPE_STRING"}
EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics")


def server() -> dict[str, Any]:
    return {"name": "anyview", "version": version("anyview"), "extensions": EXTENSIONS}


def metadata(manifest: Manifest, versions: Mapping[int, object]) -> dict[str, Any]:
    """Returns inputs and outputs with their shapes.

    Arguments:
        manifest: Manifest of the version that is described.
        versions: Loaded versions.
    """
    return {
        "name": manifest.name,
        "versions": [str(number) for number in versions],
        "platform": PLATFORM,
        "inputs": [
            {"name": name, "datatype": datatype, "shape": [-1, *row]}
            for name, datatype, row in _inputs(manifest)
        ],
        "outputs": [
            {"name": output.name, "datatype": "FP32", "shape": output.shape}
            for output in outputs_of(manifest).values()
        ],
    }


def configuration(manifest: Manifest, rows: int) -> dict[str, Any]:
    """Returns inputs and outputs as a model configuration of Triton.

    Arguments:
        manifest: Manifest of the version that is described.
        rows: Most rows of one request.
    """
    return {
        "name": manifest.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": rows,
        "input": [
            {"name": name, "data_type": _type(datatype), "optional": True, **_dims(row)}
            for name, datatype, row in _inputs(manifest)
        ],
        "output": [
            {"name": output.name, "data_type": "TYPE_FP32", **_dims(output.shape[1:])}
            for output in outputs_of(manifest).values()
        ],
        "dynamic_batching": {},
        "parameters": {name: {"string_value": ",".join(labels)} for name, labels in _labels(manifest)},
    }


def _labels(manifest: Manifest) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the labels of every category, and of every column of a table that has some."""
    for modality in manifest.modalities:
        if modality.labels:
            yield f"labels.{modality.name}", modality.labels
        for column in modality.columns or ():
            if column.labels:
                yield f"labels.{modality.name}.{column.name}", column.labels


def _inputs(manifest: Manifest) -> list[tuple[str, str, tuple[int, ...]]]:
    """Returns name, datatype and shape of a row, of every modality and of its mask."""
    values = [(m.name, _datatype(m), m.shape) for m in manifest.modalities]
    return values + [(f"{MASK}{m.name}", "BOOL", ()) for m in manifest.modalities]


def _datatype(modality: Modality) -> str:
    return NAMES[modality.numpy_dtype]


def _type(datatype: str) -> str:
    return TYPES.get(datatype, f"TYPE_{datatype}")


def _dims(row: tuple[int, ...]) -> dict[str, Any]:
    # In a configuration, a row has at least one axis.
    return {"dims": row} if row else {"dims": [1], "reshape": {"shape": []}}
