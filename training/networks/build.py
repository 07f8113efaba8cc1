"""The networks that an experiment asks for, for one modality."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models_store.kinds import KINDS
from models_store.likelihoods import FAMILIES
from models_store.manifest import Modality
from training.config import Network
from training.errors import ExperimentError
from training.networks.conv import ConvDecoder, ConvEncoder
from training.networks.custom import CustomDecoder, CustomEncoder, imported
from training.networks.mixed import ColumnFeatures, ColumnParameters
from training.networks.mlp import MLPDecoder, MLPEncoder
from training.networks.statistics import CellStatistics
from training.networks.units import (
    AsCounts,
    FillMissing,
    InUnits,
    Logarithm,
    LogOfMeasure,
    OneHot,
    Standardise,
    column_scales,
    count_starts,
    log_bounds,
)

CONVOLVED = ", ".join(name for name, kind in KINDS.items() if kind.layout)
"""Kinds whose cells have neighbours."""


def networks_for(
    modality: Modality, network: Network, latent_dim: int, x: Tensor | CellStatistics
) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder for one modality, in its own units.

    Arguments:
        modality: What goes in and comes out.
        network: Of which type, and its layers; the decoder has them in reverse.
        latent_dim: The dimension of z.
        x: Training rows, (n, *shape), NaN where missing, or their statistics; they give the scale where no
            range does.

    Raises:
        ExperimentError: The type does not fit the modality, or what it imports is not there.
    """
    if modality.traits.mixed:
        return _mixed(modality, network, latent_dim, x)
    inputs, outputs = _ends(modality, x, flag=network.type == "mlp")
    shape = modality.parameter_shape()
    hidden, back, act = network.hidden, network.hidden[::-1], network.activation
    if network.type in ("conv", "conv_encoder"):
        axes = _convolved_axes(modality, network)
        conv_encoder = ConvEncoder(inputs, shape, axes, network.channels, hidden, latent_dim, act)
        if network.type == "conv_encoder":
            return conv_encoder, MLPDecoder(latent_dim, back, shape, act, outputs)
        return conv_encoder, ConvDecoder(latent_dim, back, network.channels[::-1], shape, axes, act, outputs)
    if network.type == "custom":
        where = f"modalities.{modality.name}.network"
        encoder, decoder = (
            imported(path or "", latent_dim, shape, network.options, f"{where}.{key}")
            for key, path in (("encoder", network.encoder), ("decoder", network.decoder))
        )
        return CustomEncoder(inputs, encoder), CustomDecoder(decoder, outputs)
    features = math.prod(shape) * (2 if isinstance(inputs, FillMissing) else 1)
    return (
        MLPEncoder(inputs, features, hidden, latent_dim, act),
        MLPDecoder(latent_dim, back, shape, act, outputs),
    )


def _convolved_axes(modality: Modality, network: Network) -> int:
    """Number of axes of a row along which cells have neighbours.

    Raises:
        ExperimentError: The kind has none.
    """
    axes = modality.traits.layout
    if axes is None:
        raise ExperimentError(
            f"modalities.{modality.name}.network: '{network.type}' is for {CONVOLVED}, "
            f"not for the kind '{modality.kind}' of shape {modality.shape}"
        )
    return axes


def _mixed(
    modality: Modality, network: Network, latent_dim: int, x: Tensor | CellStatistics
) -> tuple[nn.Module, nn.Module]:
    if network.type != "mlp":
        raise ExperimentError(
            f"modalities.{modality.name}.network: a {modality.kind} has networks of type 'mlp' alone, "
            f"got '{network.type}'"
        )
    columns = modality.columns or ()
    inputs, outputs = ColumnFeatures(columns, x), ColumnParameters(columns, x)
    hidden, act = network.hidden, network.activation
    return (
        MLPEncoder(inputs, inputs.width, hidden, latent_dim, act),
        MLPDecoder(latent_dim, hidden[::-1], (outputs.width,), act, outputs),
    )


def _ends(modality: Modality, x: Tensor | CellStatistics, flag: bool) -> tuple[nn.Module, nn.Module | None]:
    """What scales the inputs, and what brings outputs back to units."""
    if modality.labels:
        return OneHot(len(modality.labels)), None
    if modality.likelihood == "bernoulli":
        low, high = modality.range or (0.0, 1.0)
        return Standardise(low, high - low), None
    inputs: nn.Module
    outputs: nn.Module
    family = FAMILIES[modality.likelihood]
    if family.of_counts:
        inputs = nn.Sequential(Logarithm(), Standardise(*column_scales(x, torch.log1p)))
        outputs = AsCounts(column_scales(x)[0], count_starts(family(), x))
    else:
        shift, scale = column_scales(x, torch.log) if family.above_zero else column_scales(x)
        starts = {
            key: math.log(constant.value) for key, constant in family.constants.items() if key != "log_scale"
        }
        bounds = log_bounds(x) if family.above_zero else None
        inputs, outputs = Standardise(shift, scale), InUnits(shift, scale, modality.shape, starts, bounds)
        if family.above_zero:
            inputs = nn.Sequential(LogOfMeasure(), inputs)
    may_be_missing = modality.traits.cells_may_be_missing and x.is_floating_point()
    return (FillMissing(inputs, flag) if may_be_missing else inputs), outputs
