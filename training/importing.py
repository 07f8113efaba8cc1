"""A model that the reference library saved, as one of ours.

``model_config.json`` and the tensors of ``model.pt`` are read; default networks are rebuilt, others come
from an import path. No pickle is ever opened.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from models_store.likelihoods import FAMILIES
from models_store.manifest import Manifest, Modality
from training.config import Experiment
from training.data import Prepared
from training.data.rows import Rows
from training.errors import ImportRefused
from training.export import PARITY_BATCHES, export
from training.model import MVAE, MVAEConfig
from training.networks.custom import found
from training.networks.outputs import ModelOutput
from training.networks.reference import ReferenceDecoder, ReferenceEncoder
from training.networks.units import OneHot

CONFIG, WEIGHTS = "model_config.json", "model.pt"
FIELDS = (
    "latent_dim",
    "uses_likelihood_rescaling",
    "rescale_factors",
    "use_subsampling",
    "k",
    "warmup",
    "beta",
)


@dataclass(frozen=True)
class Imported:
    """The model, with the weights of the folder, and what its modalities are."""

    model: MVAE
    modalities: tuple[Modality, ...]


class _Category(nn.Module):
    """An encoder that wants one-hot rows, for indices."""

    def __init__(self, classes: int, encoder: nn.Module) -> None:
        super().__init__()
        self.one_hot = OneHot(classes)
        self.encoder = encoder

    def forward(self, x: Tensor) -> ModelOutput:
        output: ModelOutput = self.encoder(self.one_hot(x))
        return output


def read_saved(folder: Path, networks: str | None = None) -> Imported:
    """Reads a folder that the reference library's ``MVAE.save`` wrote.

    Arguments:
        folder: It holds ``model_config.json`` and ``model.pt``.
        networks: Where the model has its own: ``package.module:function``, which is called with the
            configuration as a dict and returns the encoders and the decoders, each a dict by modality.

    Raises:
        ImportRefused: A file is missing, damaged, or not of an MVAE, or its networks are not known.
        ExperimentError: There is no such import path.
    """
    config = _config(folder)
    dims = {name: tuple(shape) for name, shape in config["input_dims"].items()}
    encoders, decoders = _networks(config, dims, networks)
    holder = nn.ModuleDict({"encoders": nn.ModuleDict(encoders), "decoders": nn.ModuleDict(decoders)})
    try:
        holder.load_state_dict(_weights(folder))
    except RuntimeError as error:
        raise ImportRefused(f"{folder / WEIGHTS} does not fit the networks: {error}") from None
    dists = {name: (config.get("decoders_dist") or {}).get(name, "normal") for name in dims}
    for name, dist in dists.items():
        if dist == "categorical":
            encoders[name] = _Category(dims[name][-1], encoders[name])
    known = {key: config[key] for key in FIELDS if key in config}
    parameters = config.get("decoder_dist_params") or {}
    model = MVAE(
        MVAEConfig(len(dims), input_dims=dims, decoders_dist=dists, decoder_dist_params=parameters, **known),
        encoders,
        decoders,
    )
    return Imported(model.eval(), tuple(_modality(folder, name, dims[name], dists[name]) for name in dims))


def to_bundle(imported: Imported, name: str, number: int, origin: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Everything of a bundle; the golden rows are made up, since the folder holds no data."""
    try:
        experiment = Experiment.model_validate(
            {
                "name": name,
                "description": "Imported from a model saved by the reference library.",
                "data": {"source": "unknown"},
                "modalities": {modality.name: {} for modality in imported.modalities},
            }
        )
    except ValidationError as error:
        raise ImportRefused(f"'{name}' cannot name a model: {error.errors()[0]['msg']}") from None
    rows = Rows({modality.name: _made_up(modality) for modality in imported.modalities})
    none = rows.take(slice(0))
    manifest, files = export(
        imported.model, experiment, "", Prepared(imported.modalities, none, none, rows), number
    )
    del files["experiment.toml"]
    trained = {"imported": origin.name, "versions": manifest.trained["versions"]}
    return manifest.model_copy(update={"trained": trained}), files


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise ImportRefused(f"{folder} holds no model: there is no {CONFIG}")
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ImportRefused(f"{path} is no JSON: {error}") from None
    if not isinstance(config, dict) or config.get("name") != "MVAEConfig":
        kind = config.get("name") if isinstance(config, dict) else config
        raise ImportRefused(f"{path} is of '{kind}'; only an MVAE, of 'MVAEConfig', can be imported")
    if not config.get("input_dims"):
        raise ImportRefused(f"{path} has no input_dims: write the shape of every modality there")
    for name, dist in (config.get("decoders_dist") or {}).items():
        if dist not in FAMILIES:
            raise ImportRefused(f"{path}: decoders_dist of '{name}' is '{dist}', which is not known")
    return config


def _weights(folder: Path) -> Mapping[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise ImportRefused(f"{folder} holds no model: there is no {WEIGHTS}")
    try:
        weights: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)[
            "model_state_dict"
        ]
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError):
        raise ImportRefused(f"{path} is damaged, or holds more than tensors") from None
    return weights


def _networks(
    config: Mapping[str, Any], dims: Mapping[str, Sequence[int]], networks: str | None
) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    latent_dim, own = config["latent_dim"], config.get("custom_architectures") or []
    encoders: dict[str, nn.Module] = {
        name: ReferenceEncoder(shape, latent_dim) for name, shape in dims.items()
    }
    decoders: dict[str, nn.Module] = {
        name: ReferenceDecoder(shape, latent_dim) for name, shape in dims.items()
    }
    if not own:
        return encoders, decoders
    if networks is None:
        raise ImportRefused(
            f"the model has {' and '.join(own)} of its own: name a function that makes them, "
            "--networks package.module:function"
        )
    own_encoders, own_decoders = found(networks, "--networks")(dict(config))
    return {**encoders, **own_encoders}, {**decoders, **own_decoders}


def _modality(folder: Path, name: str, shape: tuple[int, ...], dist: str) -> Modality:
    category = dist == "categorical"
    flat = len(shape) == 1
    known: dict[str, Any] = {
        "name": name,
        "kind": "category" if category else "vector" if flat else "tensor",
        "shape": () if category else shape,
        "dtype": "int64" if category else "float32",
        "likelihood": dist,
        "parameters": FAMILIES[dist].parameters,
        "labels": tuple(map(str, range(shape[-1]))) if category else None,
        "range": (0.0, 1.0) if dist == "bernoulli" else None,
    }
    try:
        return Modality.model_validate(known)
    except ValidationError as error:
        raise ImportRefused(f"{folder / CONFIG}: modality '{name}': {error.errors()[0]['msg']}") from None


def _made_up(modality: Modality) -> Tensor:
    generator, n = torch.Generator().manual_seed(0), max(PARITY_BATCHES)
    if modality.labels:
        return torch.arange(n) % len(modality.labels)
    x = torch.randn(n, *modality.shape, generator=generator)
    return (x > 0).float() if modality.likelihood == "bernoulli" else x
