"""Answers HTTP: any subset of the modalities in, the posterior, every other modality and scores out."""

import os

# Since 1.29 onnxruntime tells its makers of every session, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
