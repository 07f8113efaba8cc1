"""Fits, measures, exports and publishes a multimodal VAE."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.model import MVAE, MVAEConfig

# Since 1.29 onnxruntime tells its makers of every session, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["MVAE", "MVAEConfig"]


def __getattr__(name: str) -> Any:
    """Imports the model, and torch, once it is asked for: not all of this package needs them."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from training import model

    return getattr(model, name)
