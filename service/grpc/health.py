"""The health service of gRPC, https://github.com/grpc/grpc/blob/master/doc/health-checking.md."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service.errors import NotFound, Refusal, Unparsable
from service.grpc.calls import Call, Calls, Method, Rpc, abort, headers_of
from service.grpc.schema import SERVICE
from service.grpc.status import Unauthenticated, failure
from service.http.edge import request_id
from service.http.security import NO_KEY
from service.models.catalog import Catalog

NAME = "grpc.health.v1.Health"
OVERALL = ("", SERVICE)
"""Names that mean the whole service; all others are models."""
WATCH_SECONDS = 0.2
"""Interval between two looks at the health that a client watches."""


async def check(call: Call) -> HealthCheckResponse:
    """Returns the health of the service, or of a model for callers with a valid key.

    Raises:
        NotFound: There is no such model.
        Unauthenticated: A model is named without a key.
    """
    status = _status(call.catalog, _name(call.content, call.authorized))
    if status == HealthCheckResponse.SERVICE_UNKNOWN:
        raise NotFound("no model of this name is loaded; the empty name means the whole service")
    return HealthCheckResponse(status=status)


CHECK = Method("grpc_health_check", check, open=True)


class Watches:
    """Streams of the health of a service or a model: as it is at first, and after each change.

    Arguments:
        calls: Keys, catalog and end of the service.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def handle(self, _requests: Any, rpc: Rpc) -> None:
        """Answers one stream."""
        headers = headers_of(rpc)
        try:
            name = _name(await rpc.read(), self._calls.authorized(headers))
        except Refusal as error:
            await abort(rpc, failure(error), request_id(headers))
        ending, last = self._calls.streams.ending, None
        while not ending.is_set():
            if (status := _status(self._calls.catalog, name)) != last:
                await rpc.write(HealthCheckResponse(status=status).SerializeToString())
                last = status
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), WATCH_SECONDS)


def _name(content: Any, authorized: bool) -> str:
    """Returns the name in a request; EOF in its place has none.

    Raises:
        Unparsable: The message is damaged, or missing.
        Unauthenticated: A model is named without a key.
    """
    if content is grpc.aio.EOF:
        raise Unparsable("the call ended without a request")
    try:
        name: str = HealthCheckRequest.FromString(content).service
    except DecodeError:
        raise Unparsable("the message is not a HealthCheckRequest: it is damaged") from None
    if name not in OVERALL and not authorized:
        raise Unauthenticated(NO_KEY)
    return name


def _status(catalog: Catalog, name: str) -> Any:
    if name in OVERALL:
        return HealthCheckResponse.SERVING if catalog.ready else HealthCheckResponse.NOT_SERVING
    if name not in catalog.loaded:
        return HealthCheckResponse.SERVICE_UNKNOWN
    return HealthCheckResponse.NOT_SERVING if catalog.draining else HealthCheckResponse.SERVING
