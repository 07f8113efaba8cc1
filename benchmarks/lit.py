"""The same encoder as a LitServe API, with batching; LitServe sends the class to its worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import litserve as ls
import numpy as np
import onnxruntime


class Encode(ls.LitAPI):  # type: ignore[misc]  # it has no types
    def __init__(self, encoder: Path) -> None:
        super().__init__(max_batch_size=16, batch_timeout=0.001, api_path="/encode")
        self.encoder = encoder

    def setup(self, device: str) -> None:  # noqa: ARG002
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.encoder.read_bytes(), options, providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads a body by its type
        return np.array(request["inputs"]["image"][0], np.uint8)

    def batch(self, inputs: Any) -> Any:
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        return self.session.run(["mu", "log_var"], {"x": x})

    def unbatch(self, output: Any) -> Any:
        return list(zip(*output, strict=True))

    def encode_response(self, output: Any) -> Any:
        mu, log_var = output
        return {"mu": [mu.tolist()], "log_var": [log_var.tolist()]}


def serve(encoder: Path, port: int) -> None:
    server = ls.LitServer(Encode(encoder), accelerator="cpu")
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")
