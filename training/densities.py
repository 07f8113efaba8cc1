"""Likelihoods of one's own: a log-density that was passed in as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from models_store.likelihoods import FAMILIES, Likelihood, Parameters

LogDensity: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(reconstruction, x), both (batch, *shape), to the log-density of each cell."""

DENSITIES_ALONE = (
    "a function in decoders_dist gives densities, but neither variances nor draws; "
    f"name a likelihood for those: {', '.join(FAMILIES)}"
)


@final
@dataclass(frozen=True)
class FromFunction(Likelihood):
    """A density that was passed in as a function; it can be trained on, but not be stored in a bundle.

    Arguments:
        log_density: As ``decoders_dist`` of :class:`MVAEConfig` wants it.
    """

    parameters = ("reconstruction",)
    log_density: LogDensity

    def mean(self, parameters: Parameters) -> Any:
        return parameters["reconstruction"]

    def variance(self, parameters: Parameters) -> Tensor:  # noqa: ARG002 - what every likelihood takes
        raise ValueError(DENSITIES_ALONE)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Any:  # noqa: ARG002 - likewise
        raise ValueError(DENSITIES_ALONE)

    def _log_prob(self, x: Any, parameters: Parameters) -> Tensor:
        # the function takes tensors; scores are estimated on arrays
        reconstruction = torch.as_tensor(parameters["reconstruction"])
        wide = torch.as_tensor(x).expand(reconstruction.shape)
        row = x.shape[1:]
        cells = self.log_density(reconstruction.reshape(-1, *row), wide.reshape(-1, *row))
        if cells.numel() != reconstruction.numel():
            raise ValueError(
                f"a function in decoders_dist must give one log-density per cell, (batch, *{tuple(row)}); "
                f"it gave {tuple(cells.shape)}"
            )
        return cells.reshape(reconstruction.shape)
