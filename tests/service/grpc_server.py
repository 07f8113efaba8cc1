"""The service with gRPC beside HTTP, for tests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx2
import numpy as np
import pytest
import tritonclient.grpc as triton
from h2.connection import H2Connection
from h2.settings import Settings as Http2Settings
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from benchmarks.servers import free_port
from service.app import create_app
from service.settings import Settings
from tests.service.running import running

DATATYPES = {"uint8": "UINT8", "int64": "INT64", "float32": "FP32", "float64": "FP64", "bool": "BOOL"}


@contextmanager
def serving(store: Path | str, **options: Any) -> Iterator[tuple[str, str]]:
    """Yields the addresses of HTTP and gRPC."""
    port = free_port()
    settings = Settings.model_validate({"store": str(store), "grpc_port": port, "poll_seconds": 0, **options})
    with running(create_app(settings)) as (host, http):
        yield f"{host}:{http}", f"127.0.0.1:{port}"


@contextmanager
def connected(address: str) -> Iterator[Http2Settings | None]:
    """Holds a connection; yields what the server's first frame sets, None where it closed the connection."""
    host, port = address.split(":")
    connection = H2Connection()
    connection.initiate_connection()
    with socket.create_connection((host, int(port)), timeout=30) as client:
        try:
            client.sendall(connection.data_to_send())
            received = client.recv(65536)
        except ConnectionError:
            received = b""
        connection.receive_data(received)
        yield connection.remote_settings if received else None


def tensor(name: str, values: Any, datatype: str | None = None) -> triton.InferInput:
    array = np.asarray(values)
    made = triton.InferInput(name, list(array.shape), datatype or DATATYPES.get(array.dtype.name, "BYTES"))
    return made.set_data_from_numpy(array)


def to_return(*names: str) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name) for name in names]


def stub_of(address: str) -> Any:
    """The generated client, for messages that tritonclient does not send."""
    return service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(address))


def typed(name: str, datatype: str, shape: list[int], **contents: Any) -> Any:
    """An input with typed contents."""
    return service_pb2.ModelInferRequest.InferInputTensor(
        name=name, datatype=datatype, shape=shape, contents=service_pb2.InferTensorContents(**contents)
    )


def values_of(output: Any) -> Any:
    """The array of an output with typed contents of FP32, which tritonclient does not read."""
    return np.array(output.contents.fp32_contents, np.float32).reshape(*output.shape)


def request(*inputs: Any, model: str = "tiny", outputs: tuple[str, ...] = ("mu",), **fields: Any) -> Any:
    """A message whose inputs have typed contents, unless ``raw_input_contents`` is among the fields."""
    requested = [service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs]
    return service_pb2.ModelInferRequest(model_name=model, inputs=inputs, outputs=requested, **fields)


class Upload:
    """Requests of a stream that stays open until the test ends it."""

    def __init__(self, *requests: Any) -> None:
        self._requests = iter(requests)
        self._ended = threading.Event()

    def __iter__(self) -> Upload:
        return self

    def __next__(self) -> Any:
        for message in self._requests:
            return message
        self._ended.wait()
        raise StopIteration

    def end(self) -> None:
        self._ended.set()

    close = end


def refusal(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[str, str]:
    """Code and sentence of the error with which a call of tritonclient, or of the stub, ends."""
    with pytest.raises((grpc.RpcError, InferenceServerException)) as caught:
        call(*arguments, **options)
    error: Any = caught.value
    if isinstance(error, InferenceServerException):
        return error.status().removeprefix("StatusCode."), error.message()
    return error.code().name, error.details()


def problem(address: str, path: str, **body: Any) -> str:
    """The sentence with which HTTP refuses a request."""
    response = httpx2.post(f"http://{address}{path}", timeout=60, **body)
    assert response.status_code >= 400
    return str(response.json()["detail"])
