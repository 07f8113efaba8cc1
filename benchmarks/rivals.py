"""What an expert would write instead of the service: ``python -m benchmarks.rivals NAME PORT BUNDLE``.

``empty`` is an empty FastAPI route, the most that any route of FastAPI reaches. ``expert`` is FastAPI with
async routes that read raw bytes or orjson and run onnxruntime once per request on the event loop; ``asgi``
is the same without a framework. ``litserve`` batches. All do the work of the service: the posterior of a
picture with a standard normal prior, and a draw of z; no explanation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.bundle import SHAPE
from benchmarks.rival_model import Model
from models_store.manifest import encoder_file

JSON = "application/json"


def from_bytes(model: Model, body: bytes) -> bytes:
    x = np.frombuffer(body, np.uint8).reshape(-1, *SHAPE)
    return b"".join([array.tobytes() for array in model.encode(x)])


def from_json(model: Model, body: bytes) -> bytes:
    x = np.array(orjson.loads(body)["inputs"]["image"], np.uint8)
    z, mu, log_var = model.encode(x)
    answer = {"z": z[:, None], "mu": mu, "log_var": log_var}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def generated(model: Model, body: bytes) -> bytes:
    x = np.array(orjson.loads(body)["inputs"]["image"], np.uint8)
    answer = {name: np.ascontiguousarray(values) for name, values in model.generate(x).items()}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


PATHS: dict[str, tuple[Callable[[Model, bytes], bytes], str]] = {
    "/bin": (from_bytes, "application/octet-stream"),
    "/json": (from_json, JSON),
    "/generate": (generated, JSON),
}


def empty(_folder: Path) -> ASGIApp:
    app = FastAPI()

    @app.post("/encode")
    async def encode() -> dict[str, str]:
        return {}

    return app


def expert(folder: Path) -> ASGIApp:
    app, model = FastAPI(), Model(folder)

    def add(path: str, answer: Callable[[Model, bytes], bytes], media: str) -> None:
        @app.post(path)
        async def respond(request: Request) -> Response:
            return Response(answer(model, await request.body()), media_type=media)

    for path, (answer, media) in PATHS.items():
        add(path, answer, media)
    return app


def asgi(folder: Path) -> ASGIApp:
    model = Model(folder)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer, media = PATHS.get(scope["path"], (lambda _model, body: body, JSON))
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        content = answer(model, body)
        headers = [(b"content-type", media.encode()), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


def bare_grpc(folder: Path) -> ASGIApp:
    from benchmarks import grpc_infer

    return grpc_infer.bare(folder)


APPS: dict[str, Callable[[Path], Any]] = {
    "empty": empty,
    "expert": expert,
    "asgi": asgi,
    "grpc": bare_grpc,
}


def main(name: str, port: int, folder: Path) -> None:
    if name == "litserve":
        from benchmarks import lit

        lit.serve(folder / encoder_file("image"), port)
    else:
        app = APPS[name](folder)
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=(*APPS, "litserve"))
    parser.add_argument("port", type=int)
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    arguments = parser.parse_args()
    main(arguments.name, arguments.port, arguments.bundle)
