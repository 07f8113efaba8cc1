"""The configuration of an MVAE, under the names of the reference documentation, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from models_store.errors import listed
from models_store.likelihoods import FAMILIES, Constant, Likelihood, likelihood
from training.densities import FromFunction, LogDensity
from training.objective import OBJECTIVES, Objective


def _whole(value: Any) -> Any:
    """A whole number of any library as an ``int``."""
    is_whole = hasattr(value, "__index__") and not isinstance(value, bool)
    return value.__index__() if is_whole else value


def _real(value: Any) -> Any:
    """A number of any library as a ``float``."""
    is_real = hasattr(value, "__float__") and not isinstance(value, bool)
    return float(value) if is_real else value


Whole = Annotated[int, BeforeValidator(_whole), Field(strict=True)]
Real = Annotated[float, BeforeValidator(_real), Field(strict=True, allow_inf_nan=False)]


@dataclass(config=ConfigDict(extra="forbid", arbitrary_types_allowed=True))
class MVAEConfig:
    """What an MVAE is made of.

    Arguments:
        n_modalities: The number of modalities.
        latent_dim: The dimension of z.
        input_dims: Per modality, the shape of one row; for ``categorical``, (classes,). Needed for default
            networks and for default rescaling.
        uses_likelihood_rescaling: Multiply each log-likelihood by its factor.
        rescale_factors: The factors; if None, largest number of cells ÷ the modality's own.
        decoders_dist: Per modality a likelihood, a key of ``models_store.likelihoods.FAMILIES`` (default:
            normal); or a function of (reconstruction, x), both (batch, *shape), that
            gives the log-density of each cell.
        decoder_dist_params: Per modality what its likelihood needs: ``range`` (bernoulli, (0, 1)),
            ``parts`` (mixed: the family of each column), and the
            options in the likelihood's ``constants`` (such as ``scale`` and ``total_count``, both 1).
        custom_architectures: Names of the modalities whose networks were passed in; filled by MVAE.
        use_subsampling: Add the ELBOs of each modality alone and of k random subsets.
        k: The number of random subsets per batch.
        warmup: Epochs over which the weight of the divergence rises linearly to ``beta``.
        beta: That weight.
        objective: ``paper``, ``cross``, ``conditional``, ``matched`` or ``coherent``: see
            ``training/objective.py``.
        hidden_cells: Per modality with missing cells (NaN), the mean share of the cells of a row that are
            hidden from its encoder and predicted; none of a modality that is left out.

    Raises:
        ValidationError: A field is unknown or has a value of another type; a ``ValueError``.
    """

    n_modalities: Annotated[Whole, Field(ge=1)]
    latent_dim: Annotated[Whole, Field(ge=1)] = 10
    input_dims: Mapping[str, tuple[Whole, ...]] | None = None
    uses_likelihood_rescaling: Annotated[bool, Field(strict=True)] = False
    rescale_factors: Mapping[str, Real] | None = None
    decoders_dist: Mapping[str, str | LogDensity] | None = None
    decoder_dist_params: Mapping[str, Mapping[str, Any]] | None = None
    custom_architectures: list[str] = field(default_factory=list)
    use_subsampling: Annotated[bool, Field(strict=True)] = True
    k: Annotated[Whole, Field(ge=0)] = 0
    warmup: Annotated[Whole, Field(ge=0)] = 10
    beta: Real = 1.0
    objective: str = "paper"
    hidden_cells: Mapping[str, Real] | None = None


def check_known(names: Iterable[str], modalities: Sequence[str]) -> None:
    """Refuses a name that no modality has.

    Raises:
        ValueError: There is one.
    """
    for name in names:
        if name not in modalities:
            raise ValueError(f"unknown modality '{name}'; this model knows {listed(modalities)}")


def select(modalities: Sequence[str], names: str | Iterable[str]) -> list[str]:
    """The modalities that ``names`` names, all of them for ``all``, in the order of the model.

    Raises:
        ValueError: One is unknown.
    """
    if names == "all":
        return list(modalities)
    selected = [names] if isinstance(names, str) else list(names)
    check_known(selected, modalities)
    return [name for name in modalities if name in selected]


def names_of(
    config: MVAEConfig,
    encoders: Mapping[str, nn.Module] | None,
    decoders: Mapping[str, nn.Module] | None,
) -> list[str]:
    """The modalities, in the order of input_dims, else of the encoders."""
    names = list(config.input_dims or encoders or {})
    if len(names) != config.n_modalities:
        raise ValueError(
            f"n_modalities is {config.n_modalities}, but input_dims or encoders name {len(names)}: {names}"
        )
    per_modality = ("rescale_factors", "decoders_dist", "decoder_dist_params")
    given = {key: getattr(config, key) or {} for key in per_modality}
    for where, keys in {**given, "encoders": encoders or {}, "decoders": decoders or {}}.items():
        unknown = [key for key in keys if key not in names]
        if unknown:
            raise ValueError(f"{where} names the unknown modality '{unknown[0]}'; known are {listed(names)}")
    return names


def likelihood_of(config: MVAEConfig, name: str) -> Likelihood:
    dist = (config.decoders_dist or {}).get(name, "normal")
    if callable(dist):
        return FromFunction(dist)
    if dist not in FAMILIES:
        raise ValueError(f"decoders_dist of '{name}' is '{dist}'; known are {listed(FAMILIES)}")
    params = (config.decoder_dist_params or {}).get(name, {})
    options = dict.fromkeys(
        ["range", "parts", *(c.option for of in FAMILIES.values() for c in of.constants.values())]
    )
    unknown = params.keys() - options.keys()
    if unknown:
        raise ValueError(
            f"decoder_dist_params of '{name}' has '{min(unknown)}'; known are {', '.join(options)}"
        )
    return likelihood(dist, params.get("range"), params.get("parts", ()))


def objective_of(config: MVAEConfig) -> Objective:
    if config.objective not in OBJECTIVES:
        raise ValueError(f"objective is '{config.objective}'; known are {listed(OBJECTIVES)}")
    return OBJECTIVES[config.objective]


def weights_of(config: MVAEConfig, names: Sequence[str]) -> list[float]:
    if not config.uses_likelihood_rescaling:
        return [1.0] * len(names)
    if config.rescale_factors is not None:
        return [float(config.rescale_factors.get(name, 1.0)) for name in names]
    if config.input_dims is None:
        raise ValueError("uses_likelihood_rescaling needs rescale_factors or input_dims")
    sizes = [int(np.prod(config.input_dims[name])) for name in names]
    return [max(sizes) / size for size in sizes]


def log_constant_of(config: MVAEConfig, name: str, constant: Constant) -> float:
    """Logarithm of a parameter of a modality's likelihood that its decoder does not return."""
    options = (config.decoder_dist_params or {}).get(name, {})
    return math.log(options.get(constant.option, constant.value))


def shape_of(config: MVAEConfig, name: str) -> Sequence[int]:
    """The entry of a modality in input_dims, which a default network needs."""
    dims = config.input_dims or {}
    if name not in dims:
        raise ValueError(f"modality '{name}' has neither networks of its own nor an entry in input_dims")
    return dims[name]
