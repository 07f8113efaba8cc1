"""Fits, measures, exports and publishes a multimodal VAE."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.model import MVAE, MVAEConfig

# onnxruntime since 1.29 sends telemetry of every session unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["MVAE", "MVAEConfig"]


def __getattr__(name: str) -> Any:
    """Imports the model, and torch, at first use: not all modules of this package need them."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from training import model

    return getattr(model, name)
