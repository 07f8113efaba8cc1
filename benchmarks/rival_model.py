"""The graphs of one modality in the hands of the rivals, with the formulas of the service in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.bundle import SHAPE
from models_store.arrays import Array
from models_store.manifest import decoder_file, encoder_file

N, K = 16, 100
"""Samples, and draws behind the summaries, of a request to /generate."""
QUANTILES = [4, 24, 49, 74, 94]
"""Places of the quantiles among ``K`` sorted draws."""


class Model:
    """The two graphs of one modality, and the formulas of the service in numpy.

    Arguments:
        folder: Folder of a bundle with the modality ``image``.
    """

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(
                (folder / name).read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            for name in (encoder_file("image"), decoder_file("image"))
        )
        self.noise = np.random.Generator(np.random.SFC64(0))

    def encode(self, x: Array) -> tuple[Array, Array, Array]:
        """Draws of z, the mean and the log variance of the posterior, each (n, D)."""
        mu, log_var = self.encoder.run(["mu", "log_var"], {"x": x})
        precision = np.exp(-log_var)
        variance = 1 / (1 + precision)
        mu = precision * mu * variance
        z = mu + np.sqrt(variance) * self.noise.standard_normal(mu.shape, np.float32)
        return z, mu, np.log(variance)

    def generate(self, x: Array) -> dict[str, Array]:
        """Mean, standard deviation, quantiles and samples of a Bernoulli picture over draws of z."""
        _, mu, log_var = self.encode(x)
        noise = self.noise.standard_normal((len(x), K, mu.shape[1]), np.float32)
        z = mu[:, None] + np.exp(log_var / 2)[:, None] * noise
        (logits,) = self.decoder.run(["logits"], {"z": z.reshape(-1, z.shape[-1])})
        p = (1 / (1 + np.exp(-logits))).reshape(len(x), K, *SHAPE)
        mean = p.mean(1)
        return {
            "mean": mean,
            "std": np.sqrt(mean * (1 - mean)),
            "quantiles": np.sort(p, 1)[:, QUANTILES],
            "samples": p[:, :N],
        }
