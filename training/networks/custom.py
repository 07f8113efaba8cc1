"""Networks of one's own, named in the experiment file by import path.

``encoder = "package.module:name"`` names a class or a function; it is called with ``latent_dim``, ``shape``
and the ``options`` of the experiment file, and returns a module. An encoder takes standardised rows
(batch, *shape), of a category one-hot rows (batch, classes), and returns something with ``.embedding`` and
``.log_covariance``; a decoder takes z (batch, latent_dim) and returns something with ``.reconstruction``,
(batch, *shape), and optionally further parameters of its likelihood (``.log_scale``, ``.log_df``,
``.log_total_count``), which are added to learned ones. Modules written
for MultiVae do.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from training.errors import ExperimentError


class CustomEncoder(nn.Module):
    """Scales x, then asks the network.

    Arguments:
        inputs: Scales x, and keeps its shape.
        network: What was imported.
    """

    def __init__(self, inputs: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.inputs = inputs
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network(self.inputs(x))


class CustomDecoder(nn.Module):
    """Asks the network, then brings what it says back to the user's units.

    Arguments:
        network: What was imported.
        outputs: As for ``MLPDecoder``.
    """

    def __init__(self, network: nn.Module, outputs: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network
        self.outputs = outputs

    def forward(self, z: Tensor) -> Any:
        output = self.network(z)
        if self.outputs is None:
            return output
        scaled = self.outputs(output.reconstruction)
        for name in scaled.keys() - {"reconstruction"}:
            if (offset := getattr(output, name, None)) is not None:
                scaled[name] = scaled[name] + offset
        return scaled


def imported(
    path: str, latent_dim: int, shape: Sequence[int], options: Mapping[str, Any], where: str
) -> nn.Module:
    """The module that an import path makes.

    Arguments:
        path: ``package.module:name``; looked for in the current folder too.
        latent_dim: The dimension of z.
        shape: The shape of one row; for a category, (classes,).
        options: Further keyword arguments.
        where: Which key of the experiment file says so.

    Raises:
        ExperimentError: There is no such name, or it does not make a module.
    """
    maker = import_callable(path, where)
    try:
        network = maker(latent_dim=latent_dim, shape=tuple(shape), **options)
    except TypeError as error:
        raise ExperimentError(
            f"{where}: '{path}' was called with latent_dim, shape and options: {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ExperimentError(f"{where}: '{path}' gave {type(network).__name__}, wanted is a torch module")
    return network


def import_callable(path: str, where: str) -> Callable[..., Any]:
    """What an import path names.

    Raises:
        ExperimentError: There is no such name.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise ExperimentError(f"{where} is '{path}'; wanted is 'package.module:name'")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        maker: Callable[..., Any] = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ExperimentError(f"{where} is '{path}': {error}") from error
    finally:
        sys.path.remove(here)
    return maker
