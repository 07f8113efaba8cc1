"""A small bundle to publish, to spoil and to be refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest

from models_store.errors import BundleRefused
from models_store.folder import open_bundle
from models_store.manifest import FileEntry, Manifest
from tests.models_store.examples import image, manifest


def graph(inner: str = "h", *weights: onnx.TensorProto) -> onnx.ModelProto:
    """h = x, y = h, with the intermediate value of that name."""
    x, y, h = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 2])
        for name in ("x", "y", inner)
    )
    nodes = [onnx.helper.make_node("Identity", [a], [b]) for a, b in (("x", inner), (inner, "y"))]
    made = onnx.helper.make_graph(nodes, "graph", [x], [y], weights, value_info=[h])
    return onnx.helper.make_model(made)


MODEL = manifest(modalities=[image(8, 6)])
GRAPHS = ["image.encoder.onnx", "image.decoder.onnx"]
FILES = {
    **{name: graph(name).SerializeToString() for name in GRAPHS},
    "golden.npz": b"numbers",
    "report/card.md": b"# Digits",
    "report/empty.csv": b"",
}


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def listed(folder: Path, name: str, content: bytes = b"") -> Path:
    """Adds a name to the manifest's list of files; the file may exist or not."""
    reported = Manifest.from_json((folder / "manifest.json").read_bytes())
    entry = FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    altered = reported.model_copy(update={"files": {**reported.files, name: entry}})
    (folder / "manifest.json").write_bytes(altered.to_json())
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(BundleRefused) as refused:
        open_bundle(folder)
    sentence = str(refused.value)
    assert sentence.startswith(f"{folder.parent.name}/{folder.name}: ")
    assert "\n" not in sentence
    return sentence
