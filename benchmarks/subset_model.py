"""The encoders of a bundle in the hands of other servers; it needs numpy and onnxruntime alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

NAME = "bench"
SUFFIX = ".encoder.onnx"


class SubsetModel:
    """The product of the experts that a request has, with a standard normal prior, and a draw of z.

    Arguments:
        folder: Folder of a bundle.
    """

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.encoders = {
            file.name.removesuffix(SUFFIX): onnxruntime.InferenceSession(
                file.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            for file in folder.glob(f"*{SUFFIX}")
        }
        self.noise = np.random.Generator(np.random.SFC64(0))

    def encode(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a draw of z, the mean and the log variance of the posterior, each (n, D)."""
        precision, weighted = np.float32(1), np.float32(0)
        for name, x in inputs.items():
            mu, log_var = self.encoders[name].run(["mu", "log_var"], {"x": np.asarray(x, np.uint8)})
            precision = precision + np.exp(-log_var)
            weighted = weighted + mu * np.exp(-log_var)
        variance = 1 / precision
        mu = weighted * variance
        z = mu + np.sqrt(variance) * self.noise.standard_normal(mu.shape, np.float32)
        return {"z": z, "mu": mu, "log_var": np.log(variance)}
