"""Encoders and decoders for one modality; they return parameters, never samples.

Inputs arrive in the user's own units and dtype; scaling and one-hot are modules of the network, so
that they are exported with it.
"""

from training.networks.build import networks_for
from training.networks.conv import ConvDecoder, ConvEncoder
from training.networks.custom import CustomDecoder, CustomEncoder
from training.networks.mlp import MLPDecoder, MLPEncoder
from training.networks.outputs import LOG_VAR_BOUND, ModelOutput, soft_bound
from training.networks.units import FillMissing, InUnits, OneHot, Standardise, column_scales

__all__ = [
    "LOG_VAR_BOUND",
    "ConvDecoder",
    "ConvEncoder",
    "CustomDecoder",
    "CustomEncoder",
    "FillMissing",
    "InUnits",
    "MLPDecoder",
    "MLPEncoder",
    "ModelOutput",
    "OneHot",
    "Standardise",
    "column_scales",
    "networks_for",
    "soft_bound",
]
