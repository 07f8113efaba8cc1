"""Compares inference over gRPC with a bare grpc.aio server: ``python -m benchmarks.grpc_infer``.

Both compute the posterior of one picture with the same graph and draw z, at 16 connections that each send
their next request after the response to the last. A rate is answers per processor second of the server, on
one core; a ratio is the service's rate ÷ the bare server's, so 1 is equal speed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import uvloop
from fastapi import FastAPI

from benchmarks import bundle
from benchmarks.rival_model import Model
from benchmarks.servers import LOAD_CORE, Server, anyview, free_port, rival
from models_store.arrays import Array
from service.grpc.schema import SERVICE, InferRequest, InferResponse

GOAL = 0.9
CONNECTIONS = 16
OUTPUTS = ("z", "mu", "log_var")
METHOD = f"/{SERVICE}/ModelInfer"
PORT = "BENCH_GRPC_PORT"
"""Environment variable with the port of the bare server."""


def bare(folder: Path) -> FastAPI:
    """The bare server: one run of the graph per request, on the event loop; HTTP shows when it is ready."""
    model = Model(folder)

    async def infer(request: Any, _context: Any) -> Any:
        (content,) = request.raw_input_contents
        x = np.frombuffer(content, np.uint8).reshape(request.inputs[0].shape)
        z, mu, log_var = model.encode(x)
        return _response(request, {"z": z[:, None], "mu": mu, "log_var": log_var})

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        handler = grpc.unary_unary_rpc_method_handler(
            infer, InferRequest.FromString, InferResponse.SerializeToString
        )
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": handler})]
        )
        server.add_insecure_port(f"127.0.0.1:{os.environ[PORT]}")
        await server.start()
        yield
        await server.stop(0)

    return FastAPI(lifespan=lifespan)


def _response(request: Any, arrays: dict[str, Array]) -> Any:
    response = InferResponse(model_name=request.model_name, model_version="1", id=request.id)
    for name, array in arrays.items():
        response.outputs.add(name=name, datatype="FP32", shape=array.shape)
        response.raw_output_contents.append(array.tobytes())
    return response


def message(picture: Array) -> bytes:
    """The request of both: a raw picture, and the outputs of /encode."""
    request = InferRequest(model_name=bundle.NAME, raw_input_contents=[picture.tobytes()])
    request.inputs.add(name="image", datatype="UINT8", shape=picture.shape)
    for name in OUTPUTS:
        request.outputs.add(name=name)
    content: bytes = request.SerializeToString()
    return content


async def drive(port: int, content: bytes, seconds: float) -> int:
    """Sends requests for some time; returns how many were answered."""
    end = time.perf_counter() + seconds

    async def client(send: Any) -> int:
        answered = 0
        while time.perf_counter() < end:
            response = InferResponse.FromString(await send(content))
            assert len(response.raw_output_contents) == len(OUTPUTS)
            answered += 1
        return answered

    async with AsyncExitStack() as channels:
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each
        sends = []
        for _ in range(CONNECTIONS):
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
            sends.append((await channels.enter_async_context(channel)).unary_unary(METHOD))
        return sum(await asyncio.gather(*map(client, sends)))


def main(rounds: int, seconds: float) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    content = message(bundle.pictures(np.random.default_rng(0), 1))
    port, bare_port = free_port(), free_port()
    os.environ[PORT] = str(bare_port)
    with tempfile.TemporaryDirectory() as scratch:
        folder = bundle.publish(Path(scratch), ["image"])
        with (
            anyview(Path(scratch), "--grpc-port", str(port)) as service,
            rival("grpc", folder) as stub,
        ):
            ratios = uvloop.run(_ratios([(service, port), (stub, bare_port)], content, rounds, seconds))
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"{CONNECTIONS} connections ÷ bare grpc.aio: {median:.2f} ({low:.2f} to {high:.2f}), goal {GOAL}")


async def _ratios(
    servers: list[tuple[Server, int]], content: bytes, rounds: int, seconds: float
) -> list[float]:
    ratios = []
    for number in range(rounds + 1):
        rates = []
        for server, port in servers:
            before = server.cpu_seconds
            answered = await drive(port, content, seconds)
            rates.append(answered / (server.cpu_seconds - before))
        if number:  # the first round warms up
            ratios.append(rates[0] / rates[1])
            print(f"{rates[0]:.0f} ÷ {rates[1]:.0f} answers per processor second")
    return ratios


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.seconds)
