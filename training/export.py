"""Exports a model to ONNX and checks the graphs against torch."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save as safetensors_bytes

from models_store import golden
from models_store.arrays import Array
from models_store.errors import ManifestError
from models_store.likelihoods import Parameters
from models_store.limits import MOST_VALUES, check_document
from models_store.linear import EncoderOutput
from models_store.manifest import LINEAR, PRODUCT, Manifest, Modality, decoder_file, encoder_file
from training.checkpoint import EpochReport
from training.coders import Coders
from training.config import Experiment
from training.data import Prepared
from training.errors import ExportError
from training.graphs import to_onnx

PROVIDERS: Mapping[str, Sequence[tuple[str, dict[str, str]]]] = {
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"})]  # as the service runs them
}
"""Providers of onnxruntime by type of device, before that of the CPU."""
PARITY_BATCHES = (1, 7, 64)
SHARE_BEFORE_METRICS = 0.75
"""Share of the limits of a manifest that is filled before a model is measured."""
GOLDEN_ROWS = 32


class TorchGraphs:
    """The encoders and decoders of a model, run by torch."""

    def __init__(self, model: Coders) -> None:
        self.model = model

    @torch.no_grad()
    def encode(self, modality: str, x: Array) -> EncoderOutput:
        expert, natural = self.model.encoded(modality, torch.from_numpy(x))
        return EncoderOutput(*(part.numpy() for part in (*expert, natural) if part is not None))

    @torch.no_grad()
    def decode(self, modality: str, z: Array) -> Parameters:
        parameters = self.model.parameters_of(modality, torch.from_numpy(z))
        return {name: value.numpy() for name, value in parameters.items()}


class OnnxGraphs:
    """The encoders and decoders of a bundle's files, run by onnxruntime."""

    def __init__(self, manifest: Manifest, files: Mapping[str, bytes], device: str = "cpu") -> None:
        """``device`` is the type of the device; the CPU runs the graphs if the runtime has no other."""
        self.manifest = manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        available = onnxruntime.get_available_providers()
        faster = [provider for provider in PROVIDERS.get(device, []) if provider[0] in available]
        providers = [*faster, ("CPUExecutionProvider", {})]
        self.sessions = {
            name: onnxruntime.InferenceSession(files[name], options, providers=providers)
            for modality in manifest.names
            for name in (encoder_file(modality), decoder_file(modality))
        }

    def encode(self, modality: str, x: Array) -> EncoderOutput:
        session = self.sessions[encoder_file(modality)]
        names = [output.name for output in session.get_outputs()]
        return EncoderOutput(**dict(zip(names, session.run(names, {"x": x}), strict=True)))

    def decode(self, modality: str, z: Array) -> Parameters:
        names = list(self.manifest.modality(modality).parameters)
        values = self.sessions[decoder_file(modality)].run(names, {"z": z})
        return dict(zip(names, values, strict=True))


def export(
    model: Coders,
    experiment: Experiment,
    text: str,
    prepared: Prepared,
    number: int,
    reports: Sequence[EpochReport] = (),
) -> tuple[Manifest, dict[str, bytes]]:
    """Returns the manifest and the files of a bundle, without the report.

    Arguments:
        model: The trained model.
        experiment: Its experiment.
        text: Text of the experiment file.
        prepared: Data of the experiment; held-out rows become the golden inputs.
        number: Version of the bundle.
        reports: Reports of the training epochs.

    Raises:
        ExportError: A network cannot be exported, or its graph does not agree with torch.
    """
    model = model.eval().cpu()
    manifest = described(model, experiment, prepared, number, reports)
    files = {"experiment.toml": text.encode(), "weights.safetensors": safetensors_bytes(model.state_dict())}
    rng = np.random.default_rng(experiment.seed)
    z = rng.standard_normal((max(PARITY_BATCHES), model.latent_dim)).astype(np.float32)
    torch_graphs = TorchGraphs(model)
    values = golden_inputs(experiment, prepared, torch_graphs, z)
    files |= to_onnx(model, manifest.modalities, values, z)
    onnx_graphs = OnnxGraphs(manifest, files)
    for modality in manifest.modalities:
        check_parity(modality, torch_graphs, onnx_graphs, values[modality.name], z)
    present = golden.presence(GOLDEN_ROWS, len(manifest.names), rng)
    first = {name: x[:GOLDEN_ROWS] for name, x in values.items()}
    expected = golden.make(manifest, first, present, z[:GOLDEN_ROWS], torch_graphs)
    golden.check(manifest, expected, onnx_graphs)
    if experiment.examples and (masks := prepared.test.masks):
        always = np.ones(len(prepared.test), bool)
        held = [masks[name].numpy() if name in masks else always for name in manifest.names]
        expected[golden.HELD] = golden_rows(np.stack(held, axis=1), GOLDEN_ROWS)
    files[golden.FILE] = golden.to_bytes(expected)
    return manifest, files


def check_parity(
    modality: Modality, expected: golden.Graphs, actual: golden.Graphs, x: Array, z: Array
) -> None:
    """Compares the two graphs of one modality, batch by batch.

    Raises:
        ExportError: They differ by more than the tolerance; the message names modality, output and size.
    """
    for size in PARITY_BATCHES:
        ours, theirs = expected.encode(modality.name, x[:size]), actual.encode(modality.name, x[:size])
        encoded = zip(EncoderOutput._fields, ours, theirs, strict=True)
        pairs = {name: (a, b) for name, a, b in encoded if a is not None and b is not None}
        expected_values, values = (
            expected.decode(modality.name, z[:size]),
            actual.decode(modality.name, z[:size]),
        )
        pairs |= {name: (expected_values[name], values[name]) for name in modality.parameters}
        for name, (a, b) in pairs.items():
            if not golden.agree(b, a):
                raise ExportError(
                    f"the ONNX graph of '{modality.name}' differs from torch in {name}, batch size {size}"
                )


def described(
    model: Coders,
    experiment: Experiment,
    prepared: Prepared,
    number: int,
    reports: Sequence[EpochReport] = (),
) -> Manifest:
    """Returns the manifest of a model without metrics; for the arguments see :func:`export`."""
    return Manifest(
        name=experiment.name,
        version=number,
        created=datetime.now(UTC).replace(microsecond=0),
        description=experiment.description,
        licence=experiment.licence,
        latent_dim=model.latent_dim,
        members=len(model.mixture),
        weights=model.mixture.weights if model.linear_members else (),
        linear_members=model.linear_members,
        fusion=LINEAR if model.linear_members else PRODUCT,
        modalities=prepared.modalities,
        tables=prepared.tables,
        trained=_origin(experiment, prepared, reports),
    )


def check_room(experiment: Experiment, prepared: Prepared) -> None:
    """Checks, before training, that a service will accept the size of the manifest.

    Raises:
        ExportError: The manifest would be too large, or has a text that is too long.
    """
    losses = [-1000.1234] * min(experiment.model.members * experiment.fit.epochs, MOST_VALUES)
    manifest = Manifest.model_construct(  # checked below as a whole, with values that were copied unchecked
        name=experiment.name,
        version=1,
        created=datetime.now(UTC),
        description=experiment.description,
        licence=experiment.licence,
        latent_dim=1,
        modalities=prepared.modalities,
        tables=prepared.tables,
        trained={"history": {"train_loss": losses, "validation_loss": losses}},
    )
    document = manifest.to_json()
    try:
        check_document(document, SHARE_BEFORE_METRICS)
        Manifest.from_json(document)
    except ManifestError as error:
        raise ExportError(
            f"the model could not be published: {error}; the manifest lists every column, label and loss of "
            "an epoch: shorten or leave out some, or set fewer epochs"
        ) from None


def golden_inputs(
    experiment: Experiment, prepared: Prepared, graphs: golden.Graphs, z: Array
) -> dict[str, Array]:
    """Returns as many rows as z by modality: held-out rows, or generated ones if examples are private."""
    if experiment.examples:
        return {name: golden_rows(x.numpy(), len(z)) for name, x in prepared.test.data.items()}
    rng = np.random.default_rng(experiment.seed)
    return {m.name: _generated(m, graphs.decode(m.name, z), rng) for m in prepared.modalities}


def golden_rows(x: Array, count: int) -> Array:
    """Returns ``count`` rows, repeated from the start if there are fewer."""
    return np.resize(x, (count, *x.shape[1:]))


def _generated(modality: Modality, parameters: Parameters, rng: np.random.Generator) -> Array:
    """Draws artificial rows, clipped to the range and dtype of the modality."""
    drawn = modality.distribution.sample(parameters, rng)
    low, high = modality.range or (-np.inf, np.inf)
    if modality.numpy_dtype.kind in "iu":
        kept = np.iinfo(modality.numpy_dtype)
        low, high = max(low, kept.min), min(high, kept.max)
        drawn = np.rint(drawn)
    return np.clip(drawn, low, high).astype(modality.numpy_dtype)


def _origin(experiment: Experiment, prepared: Prepared, reports: Sequence[EpochReport]) -> dict[str, Any]:
    packages = ("anyview", "torch", "onnx", "onnxruntime", "numpy")
    return {
        "experiment": experiment.name,
        "data": {
            "source": experiment.data.source,
            "train_rows": prepared.train_rows,
            "validation_rows": len(prepared.validation),
            "test_rows": len(prepared.test),
        },
        "linear": experiment.model.linear,
        "seed": experiment.seed,
        "devices": sorted({report.device for report in reports if report.device}),
        "history": {
            key: [_short(getattr(report, key)) for report in reports]
            for key in ("train_loss", "validation_loss")
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def _short(loss: float | None) -> float | None:
    return None if loss is None else round(loss, 4)
