"""Fits, measures, exports and publishes a multimodal VAE."""

import os

from training.model import MVAE, MVAEConfig

# Since 1.29 onnxruntime tells its makers of every session, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["MVAE", "MVAEConfig"]
