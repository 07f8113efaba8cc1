"""Golden values: inputs of every graph of a bundle, and the outputs that any runtime must reproduce.

Up to 64 rows: all modalities observed, none, each alone, random subsets. Their inputs are also the examples
that the service offers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from models_store import archives
from models_store.arrays import Array
from models_store.errors import BundleRefused
from models_store.likelihoods import Parameters
from models_store.linear import EncoderOutput, Experts
from models_store.manifest import Manifest

FILE = "golden.npz"
HELD = "held"
"""Key of a mask (G, M): the row has that modality. Absent if all rows have all modalities. A placeholder
stands for a modality that a row lacks: it checks the graph, and is no example."""
TOLERANCE = 1e-4
"""Two numbers agree when abs(a - b) <= TOLERANCE * (1 + abs(b))."""

LEAST_UNKNOWN = 20.0
"""Least log-variance of an expert that knows nothing of a coordinate."""

Golden = Mapping[str, Array]


class Graphs(Protocol):
    """Runs the encoders and decoders of a model: torch, or an ONNX runtime."""

    def encode(self, modality: str, x: Array) -> EncoderOutput:
        """The expert q(z | x), (batch, latent_dim)."""

    def decode(self, modality: str, z: Array) -> Parameters:
        """The parameters of p(x | z)."""


def agree(a: Array, b: Array) -> bool:
    """Whether all of ``a`` is within the tolerance of ``b``."""
    return bool(a.shape == b.shape and np.all(np.abs(a - b) <= TOLERANCE * (1 + np.abs(b))))


def presence(rows: int, modalities: int, rng: np.random.Generator) -> Array:
    """Which modality is observed in which golden row, (rows, M): all, none, each alone, random subsets."""
    fixed = np.concatenate(
        [np.ones((1, modalities), bool), np.zeros((1, modalities), bool), np.eye(modalities, dtype=bool)]
    )
    random = rng.random((max(rows - len(fixed), 0), modalities)) < 0.5
    return np.concatenate([fixed, random])[:rows]


def make(
    manifest: Manifest, values: Golden, present: Array, noise: Array, graphs: Graphs
) -> dict[str, Array]:
    """Compute the golden values of a model with these graphs.

    Arguments:
        manifest: The model.
        values: By modality, (G, *shape) complete rows.
        present: (G, M).
        noise: Standard normal, (G, latent_dim).
        graphs: Encoders and decoders of the model.
    """
    answers = {f"{name}.x": values[name] for name in manifest.names}
    answers["present"] = present
    experts = [graphs.encode(name, values[name]) for name in manifest.names]
    for name, expert in zip(manifest.names, experts, strict=True):
        answers |= {f"{name}.{key}": value for key, value in expert._asdict().items() if value is not None}
    posterior = Experts.of(experts, present.T, manifest.linear).product()
    answers["mu"], answers["log_var"] = posterior.mu, posterior.log_var
    answers["z"] = posterior.sample(noise[:, None])[:, 0].astype(np.float32)
    for name in manifest.names:
        for parameter, value in graphs.decode(name, answers["z"]).items():
            answers[f"{name}.{parameter}"] = value
    return answers


def check(manifest: Manifest, golden: Golden, graphs: Graphs) -> None:
    """Run the graphs on the golden inputs, and compare their outputs.

    Raises:
        BundleRefused: A value is missing or differs; the text names the file and the value.
    """
    _check_rows(manifest, golden)
    if manifest.members > 1:
        _check_members(manifest, golden)
    for modality in manifest.modalities:
        name = modality.name
        for key, value in graphs.encode(name, _value(golden, f"{name}.x"))._asdict().items():
            if value is not None:
                _compare(golden, f"{name}.{key}", value, f"{name}.encoder.onnx")
        decoded = graphs.decode(name, _value(golden, "z"))
        for parameter in modality.parameters:
            _compare(golden, f"{name}.{parameter}", decoded[parameter], f"{name}.decoder.onnx")
    keys = EncoderOutput._fields if manifest.linear is not None else ("mu", "log_var")
    experts = [EncoderOutput(*(_value(golden, f"{name}.{key}") for key in keys)) for name in manifest.names]
    posterior = Experts.of(experts, _value(golden, "present").T, manifest.linear).product()
    _compare(golden, "mu", posterior.mu, "the product of experts")
    _compare(golden, "log_var", posterior.log_var, "the product of experts")


def examples(manifest: Manifest, golden: Golden, rows: int) -> dict[str, list[Any]]:
    """Inputs of the first rows by modality, in the user's units; None where a row lacks the modality."""
    held = golden.get(HELD, np.ones_like(golden["present"]))
    return {
        modality.name: [
            modality.traits.plain(modality, x) if there else None
            for x, there in zip(golden[f"{modality.name}.x"][:rows], held[:, index], strict=False)
        ]
        for index, modality in enumerate(manifest.modalities)
    }


def to_bytes(golden: Golden) -> bytes:
    return archives.to_bytes(golden)


def from_bytes(content: bytes) -> dict[str, Array]:
    """The golden values of a bundle.

    Raises:
        BundleRefused: The file is no archive of arrays.
    """
    return archives.from_bytes(content, FILE)


def _check_members(manifest: Manifest, golden: Golden) -> None:
    """Check that no expert depends on the coordinate of z that chooses the member.

    Raises:
        BundleRefused: One does: the graphs are not those of an ensemble.
    """
    for name in manifest.names:
        mu, log_var = (_value(golden, f"{name}.{part}")[..., -1] for part in ("mu", "log_var"))
        if np.any(mu != 0) or np.any(log_var < LEAST_UNKNOWN):
            raise BundleRefused(
                f"{FILE}: members is {manifest.members}, but the expert of '{name}' knows the last number "
                "of z, which chooses the member; export the ensemble again, or set members to 1"
            )


def _check_rows(manifest: Manifest, golden: Golden) -> None:
    """Check that all values have the same rows, at least one, and that masks have a column per modality."""
    rows = _value(golden, "present").shape[:1]
    if rows in ((), (0,)):
        raise BundleRefused(f"{FILE}: 'present' has no rows")
    for key, value in golden.items():
        if value.shape[:1] != rows:
            raise BundleRefused(
                f"{FILE}: '{key}' of shape {value.shape} needs {rows[0]} rows, as 'present' has"
            )
    for key in {"present", HELD} & golden.keys():
        if golden[key].shape != (*rows, len(manifest.names)) or golden[key].dtype != bool:
            raise BundleRefused(f"{FILE}: '{key}' must be boolean with a column per modality")


def _value(golden: Golden, key: str) -> Array:
    if key not in golden:
        raise BundleRefused(f"{FILE}: '{key}' is missing")
    return golden[key]


def _compare(golden: Golden, key: str, answer: Array, source: str) -> None:
    stored = _value(golden, key)
    if not agree(answer, stored):
        worst = np.abs(answer - stored).max() if answer.shape == stored.shape else "a wrong shape"
        raise BundleRefused(f"{source} does not reproduce '{key}' of {FILE}: it is off by {worst}")
