"""Alternatives to the service: ``python -m benchmarks.rivals empty|plain|litserve PORT ENCODER``.

``empty`` does nothing, and so is the most that any FastAPI route can reach. ``plain`` is a service as
tutorials write it: pydantic, ``UploadFile``, one run of onnxruntime per request. ``litserve`` batches.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, UploadFile
from pydantic import BaseModel


def empty() -> FastAPI:
    app = FastAPI()

    @app.post("/encode")
    async def encode() -> dict[str, str]:
        return {}

    return app


class Inputs(BaseModel):
    """By modality, rows of nested numbers."""

    inputs: dict[str, list[list[list[int]]]]


class Encoding(BaseModel):
    """The posterior of every row."""

    mu: list[list[float]]
    log_var: list[list[float]]


def plain(encoder: Path) -> FastAPI:
    app = FastAPI()
    session = _session(encoder)

    def run(x: Any) -> Encoding:
        mu, log_var = session.run(["mu", "log_var"], {"x": x})
        return Encoding(mu=mu.tolist(), log_var=log_var.tolist())

    @app.post("/encode")
    def encode(body: Inputs) -> Encoding:
        return run(np.array(body.inputs["image"], np.uint8))

    @app.post("/encode_file")
    def encode_file(image: UploadFile) -> Encoding:
        return run(np.load(io.BytesIO(image.file.read())))

    return app


def _session(encoder: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(encoder.read_bytes(), options, providers=["CPUExecutionProvider"])


def main(name: str, port: int, encoder: Path) -> None:
    if name == "litserve":
        from benchmarks import lit

        lit.serve(encoder, port)
    else:
        app = empty() if name == "empty" else plain(encoder)
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
