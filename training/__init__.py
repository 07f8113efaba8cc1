"""Fits, measures, exports and publishes a multimodal VAE."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.imputer import MultimodalImputer
    from training.model import MVAE, MVAEConfig

# onnxruntime since 1.29 sends telemetry of every session unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["MVAE", "MVAEConfig", "MultimodalImputer"]


def __getattr__(name: str) -> Any:
    """Imports model or estimator, and torch, at first use: not all modules of the package need them."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(
        import_module("training.imputer" if name == "MultimodalImputer" else "training.model"), name
    )
