"""The HTTP service: any subset of the modalities in; the posterior, other modalities and scores out."""

import os

# Since 1.29 onnxruntime reports every session to its makers unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
