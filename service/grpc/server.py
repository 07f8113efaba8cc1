"""The gRPC server, in the event loop of the HTTP server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.grpc import CannotServe, health
from service.grpc.calls import Call, Calls, Method, Rpc
from service.grpc.health import Watches
from service.grpc.inference import Inference, InferStreams
from service.grpc.models import METHODS, UNSUPPORTED
from service.grpc.schema import POOL, SERVICE
from service.grpc.status import Unimplemented
from service.http.protocol import HEAD_SECONDS, STALLED_SECONDS, max_connections
from service.settings import Settings

log = logging.getLogger("anyview")

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
MAX_CONNECTIONS = 256
"""Connections at a time: of each that is reset, grpc still has to cancel every call, in about 20 us."""
MAX_STREAMS = 100
"""Calls of one connection at a time, the least that RFC 9113 (section 6.5.2) recommends."""
IDLE_SECONDS = 60
"""Connections without a call for so long are closed; a client opens the next one by itself."""
PING_SECONDS = 5
"""Shortest interval between pings of a client; one that sends them faster is disconnected."""


class Router(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Finds the handler of a method; one that does not exist is answered with the reason.

    Arguments:
        calls: Record, key and deadline of every call.
    """

    def __init__(self, calls: Calls) -> None:
        inference = Inference()
        streams = InferStreams(calls, inference)
        infer = Method("grpc_infer", inference.unary, admit=True)
        self._calls = calls
        self._handlers = {
            **{f"/{SERVICE}/{name}": calls.handler(method) for name, method in METHODS.items()},
            f"/{SERVICE}/ModelInfer": calls.handler(infer),
            f"/{SERVICE}/ModelStreamInfer": grpc.stream_stream_rpc_method_handler(streams.handle),
            f"/{health.NAME}/Check": calls.handler(health.CHECK),
            f"/{health.NAME}/Watch": grpc.stream_stream_rpc_method_handler(Watches(calls).handle),
            f"/{REFLECTION}/ServerReflectionInfo": _reflection(calls),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Returns the handler of a call."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is not None:
            return handler
        return self._calls.handler(Method("", partial(_refuse, method)))


@asynccontextmanager
async def serving(settings: Settings, calls: Calls) -> AsyncIterator[int]:
    """Serves until the block ends, then answers what has arrived.

    Arguments:
        settings: Settings of the service.
        calls: Record, key and deadline of every call.

    Yields:
        The port.

    Raises:
        CannotServe: The port is taken, or the host has no such address.
    """
    server = grpc.aio.server(handlers=(Router(calls),), options=tuple(_options(settings).items()))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise CannotServe(f"gRPC cannot listen on {address}: {error}") from None
    await server.start()
    log.info("gRPC on %s:%d", host, port)
    try:
        yield port
    finally:
        calls.streams.ending.set()
        await server.stop(settings.finish_seconds)


def _options(settings: Settings) -> Mapping[str, int]:
    return {
        "grpc.so_reuseport": int(settings.workers > 1),  # alone, a taken port is an error
        # grpc copies a message on the event loop, whole; HTTP bodies are copied as they arrive.
        "grpc.max_receive_message_length": min(settings.max_message_bytes, settings.max_body_bytes),
        "grpc.max_send_message_length": -1,  # limited by numbers, as over HTTP
        "grpc.max_concurrent_streams": MAX_STREAMS,
        "grpc.max_allowed_incoming_connections": min(MAX_CONNECTIONS, max_connections()),
        "grpc.max_connection_idle_ms": 1000 * IDLE_SECONDS,
        "grpc.server_handshake_timeout_ms": int(1000 * HEAD_SECONDS),
        "grpc.keepalive_time_ms": int(1000 * STALLED_SECONDS),
        "grpc.keepalive_timeout_ms": int(1000 * STALLED_SECONDS),
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": 1000 * PING_SECONDS,
    }


async def _refuse(method: str, _call: Call) -> Any:
    for part, reason in UNSUPPORTED.items():
        if part in method:
            raise Unimplemented(f"{method}: {reason}")
    raise Unimplemented(f"{method}: there is no such method")


def _reflection(calls: Calls) -> Any:
    """Returns the handler of reflection, https://github.com/grpc/grpc/blob/master/doc/server-reflection.md."""
    for module in (health_pb2, reflection_pb2):
        POOL.Add(FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb))
    servicer = reflection.aio.ReflectionServicer((SERVICE, health.NAME, REFLECTION), pool=POOL)

    async def handle(_requests: Any, rpc: Rpc) -> AsyncIterator[Any]:
        await calls.check_key(rpc)
        async for response in servicer.ServerReflectionInfo(calls.streams.messages(rpc), rpc):
            yield response

    return grpc.stream_stream_rpc_method_handler(
        handle,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
