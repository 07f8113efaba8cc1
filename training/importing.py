"""Import of a model that MultiVae saved.

``model_config.json`` and the tensors of ``model.pt`` are read. Default networks are rebuilt; other networks
come from an import path. No pickle is opened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError
from torch import Tensor, nn

from models_store.errors import shown
from models_store.likelihoods import FAMILIES
from models_store.limits import cause_of, first_of, place_of
from models_store.manifest import Manifest, Modality
from training.config import Experiment
from training.data import Prepared
from training.data.rows import Rows
from training.errors import ImportRefused
from training.export import PARITY_BATCHES, export
from training.model import MVAE, MVAEConfig
from training.networks.custom import import_callable
from training.networks.outputs import ModelOutput
from training.networks.reference import WIDTH, ReferenceDecoder, ReferenceEncoder
from training.networks.units import OneHot

CONFIG, WEIGHTS = "model_config.json", "model.pt"
FIELDS = {
    "latent_dim",
    "uses_likelihood_rescaling",
    "rescale_factors",
    "use_subsampling",
    "k",
    "warmup",
    "beta",
}
"""Fields of the configuration that MVAEConfig takes unchanged."""
SMALL = 2**24
"""Number of weights that default networks may always have, even if the file of weights is smaller."""

Size = Annotated[StrictInt, Field(gt=0, lt=2**62)]


class Saved(BaseModel):
    """The fields of ``model_config.json`` that an import reads; other fields are ignored."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, strict=True)

    latent_dim: Size
    input_dims: dict[str, Annotated[tuple[Size, ...], Field(min_length=1, max_length=8)]]
    decoders_dist: dict[str, str] | None = None
    decoder_dist_params: dict[str, dict[str, Any]] | None = None
    custom_architectures: list[StrictStr] | None = None
    uses_likelihood_rescaling: bool = False
    rescale_factors: dict[str, float] | None = None
    use_subsampling: bool = True
    k: Annotated[StrictInt, Field(ge=0)] = 0
    warmup: Annotated[StrictInt, Field(ge=0)] = 10
    beta: float = 1.0


@dataclass(frozen=True)
class Imported:
    """An imported model with its weights, and the description of its modalities."""

    model: MVAE
    modalities: tuple[Modality, ...]


class _Category(nn.Module):
    """Encodes indices of labels by a network that takes one-hot rows."""

    def __init__(self, classes: int, encoder: nn.Module) -> None:
        super().__init__()
        self.one_hot = OneHot(classes)
        self.encoder = encoder

    def forward(self, x: Tensor) -> ModelOutput:
        output: ModelOutput = self.encoder(self.one_hot(x))
        return output


def read_saved(folder: Path, networks: str | None = None) -> Imported:
    """Reads a folder that MultiVae's ``MVAE.save`` wrote.

    Arguments:
        folder: The folder with ``model_config.json`` and ``model.pt``.
        networks: Import path ``package.module:function`` for a model with custom networks. The function is
            called with the configuration as a dict and returns the encoders and the decoders, each a dict
            by modality.

    Raises:
        ImportRefused: A file is missing, damaged, or not of an MVAE, or its networks are unknown.
        ExperimentError: There is no such import path.
    """
    raw, config = _config(folder)
    dims = config.input_dims
    weights = _weights(folder)
    encoders, decoders = _networks(folder, raw, config, networks)
    holder = nn.ModuleDict({"encoders": nn.ModuleDict(encoders), "decoders": nn.ModuleDict(decoders)})
    try:
        holder.load_state_dict(weights)
    except RuntimeError as error:
        raise ImportRefused(f"{folder / WEIGHTS} does not fit the networks: {error}") from None
    dists = {name: (config.decoders_dist or {}).get(name, "normal") for name in dims}
    modalities = tuple(_modality(folder, name, dims[name], dists[name]) for name in dims)
    for name, dist in dists.items():
        if dist == "categorical":
            encoders[name] = _Category(dims[name][-1], encoders[name])
    fields = config.model_dump(include=FIELDS, exclude_unset=True)
    parameters = config.decoder_dist_params or {}
    try:
        model = MVAE(
            MVAEConfig(
                len(dims), input_dims=dims, decoders_dist=dists, decoder_dist_params=parameters, **fields
            ),
            encoders,
            decoders,
        )
    except (ValueError, TypeError) as error:
        raise ImportRefused(f"{folder / CONFIG}: {error}") from None
    return Imported(model.eval(), modalities)


def to_bundle(imported: Imported, name: str, number: int, origin: Path) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and the files of a bundle; golden rows are generated, since the folder holds no data."""
    try:
        experiment = Experiment.model_validate(
            {
                "name": name,
                "description": "Imported from a model saved by MultiVae.",
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


def _config(folder: Path) -> tuple[dict[str, Any], Saved]:
    """The configuration as MultiVae wrote it, and its checked fields."""
    path = folder / CONFIG
    if not path.is_file():
        raise ImportRefused(f"{folder} holds no model: there is no {CONFIG}")
    try:
        raw: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"{path} is no JSON: {error}") from None
    if not isinstance(raw, dict) or raw.get("name") != "MVAEConfig":
        name = raw.get("name") if isinstance(raw, dict) else raw
        raise ImportRefused(f"{path} is of {shown(name)}; only an MVAE, of 'MVAEConfig', can be imported")
    if not raw.get("input_dims"):
        raise ImportRefused(f"{path} has no input_dims: write the shape of every modality there")
    try:
        config = Saved.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        first = first_of(error)
        where = place_of(first) or "the configuration"
        raise ImportRefused(f"{path}: {where}: {cause_of(first, shows_input=True)}") from None
    for name, dist in (config.decoders_dist or {}).items():
        if dist not in FAMILIES:
            raise ImportRefused(f"{path}: decoders_dist of '{name}' is '{dist}', which is not known")
    return raw, config


def _weights(folder: Path) -> Mapping[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise ImportRefused(f"{folder} holds no model: there is no {WEIGHTS}")
    try:
        weights: Any = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
    except Exception:  # torch.load has no common error: zip, tar and the restricted unpickler raise their own
        raise ImportRefused(f"{path} is damaged, or holds more than tensors") from None
    if not isinstance(weights, Mapping) or not all(isinstance(x, Tensor) for x in weights.values()):
        raise ImportRefused(f"{path}: model_state_dict must hold a tensor for each name of a weight")
    return weights


def _networks(
    folder: Path, raw: Mapping[str, Any], config: Saved, networks: str | None
) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    if config.custom_architectures and networks is None:
        raise ImportRefused(
            f"the model has {' and '.join(config.custom_architectures)} of its own: name a function that "
            "makes them, --networks package.module:function"
        )
    _check_size(folder, config)
    dims, latent_dim = config.input_dims, config.latent_dim
    encoders: dict[str, nn.Module] = {
        name: ReferenceEncoder(shape, latent_dim) for name, shape in dims.items()
    }
    decoders: dict[str, nn.Module] = {
        name: ReferenceDecoder(shape, latent_dim) for name, shape in dims.items()
    }
    if networks is None or not config.custom_architectures:
        return encoders, decoders
    custom_encoders, custom_decoders = import_callable(networks, "--networks")(dict(raw))
    return {**encoders, **custom_encoders}, {**decoders, **custom_decoders}


def _check_size(folder: Path, config: Saved) -> None:
    """Refuses sizes whose default networks would take more memory than the file of weights can fill."""
    limit = max(SMALL, (folder / WEIGHTS).stat().st_size) // WIDTH
    sizes = {"latent_dim": config.latent_dim}
    sizes |= {f"input_dims of '{name}'": math.prod(shape) for name, shape in config.input_dims.items()}
    for field, size in sizes.items():
        if size > limit:
            raise ImportRefused(f"{folder / CONFIG}: {field} is {size:.4g}, too large for {WEIGHTS}")


def _modality(folder: Path, name: str, shape: tuple[int, ...], dist: str) -> Modality:
    category = dist == "categorical"
    flat = len(shape) == 1
    description: dict[str, Any] = {
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
        return Modality.model_validate(description)
    except ValidationError as error:
        raise ImportRefused(f"{folder / CONFIG}: modality '{name}': {error.errors()[0]['msg']}") from None


def _made_up(modality: Modality) -> Tensor:
    generator, n = torch.Generator().manual_seed(0), max(PARITY_BATCHES)
    if modality.labels:
        return torch.arange(n) % len(modality.labels)
    x = torch.randn(n, *modality.shape, generator=generator)
    return (x > 0).float() if modality.likelihood == "bernoulli" else x
