"""What networks return."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LOG_VAR_BOUND = 12.0
"""|log sigma^2| of an expert stays below this: a variance of e^-12 is far below what any data resolves."""


class ModelOutput(dict[str, Any]):
    """Named outputs, readable as attributes too; the form of MultiVae."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"no output '{name}'; there are {', '.join(self)}")
        return self[name]


def soft_bound(raw: Tensor, bound: float = LOG_VAR_BOUND) -> Tensor:
    """The identity near 0, never beyond ±bound: no step of the optimizer can make a variance infinite."""
    return bound * torch.tanh(raw / bound)


def unbounded(value: Tensor, bound: float = LOG_VAR_BOUND) -> Tensor:
    """What :func:`soft_bound` maps to the value, which is first clipped to 0.99 of the bound."""
    return bound * torch.atanh((value / bound).clamp(-0.99, 0.99))
