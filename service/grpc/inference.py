"""ModelInfer and ModelStreamInfer."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import Any

import grpc.aio

from service.engine.budget import SMALL
from service.engine.workers import FEW
from service.errors import NotReady
from service.formats import bodies
from service.grpc import messages
from service.grpc.calls import Call, Calls, Headers, Record, Rpc, abort, headers_of
from service.grpc.schema import StreamResponse
from service.grpc.status import failure
from service.grpc.waves import Waves
from service.http.edge import request_id
from service.models.loading import Loaded
from service.oip.cache import cache_of
from service.routes.inference import record_body
from service.routes.oip import answer, current

STREAM = "grpc_stream_infer"
"""Operation of each message of a stream."""
AT_ONCE = 16
"""Messages of a stream that are answered at a time; further ones wait with the client."""


class Inference:
    """Answers requests for inference; those that arrive close together are batched."""

    def __init__(self) -> None:
        self._waves = Waves()

    async def unary(self, call: Call) -> Any:
        """Answers a call with a ``ModelInferRequest`` by a ``ModelInferResponse``."""
        return await self.infer(call, in_stream=False)

    async def infer(self, call: Call, in_stream: bool) -> Any:
        """Answers a request with its outputs, given its inputs.

        Arguments:
            call: The call, with a ``ModelInferRequest``.
            in_stream: Whether it is a message of a stream.

        Returns:
            A ``ModelInferResponse``.
        """
        came, catalog, content = time.monotonic_ns(), call.catalog, call.content
        if len(content) > SMALL:
            await catalog.budget.take(2 * len(content))  # the message as it came, and parsed
        split = partial(messages.split, content, in_stream)
        parts = await bodies.by_cost(catalog.budget, len(content), len(content) <= FEW, split)
        loaded = current(catalog, parts.model, parts.version)
        try:
            with self._waves:
                response = await self._answer(call, parts, loaded, came)
        except BaseException:
            cache_of(loaded).statistics.failed(time.monotonic_ns() - came)
            raise
        if parts.final:
            messages.set_parameter(response, messages.FINAL[1], True)
        return response

    async def _answer(self, call: Call, parts: messages.Parts, loaded: Loaded, came: int) -> Any:
        budget, parse = call.catalog.budget, partial(messages.parse, loaded.model.rules, parts)
        parsed = await bodies.by_cost(budget, len(call.content), len(call.content) <= FEW, parse)
        await self._waves.join()
        record_body(call.context, loaded, parsed.observed)
        call.catalog.admit()  # other requests may have filled the queues during the upload
        return await answer(loaded, parsed, came, messages.write)


class InferStreams:
    """Answers streams of requests, each in the order of its requests.

    Arguments:
        calls: Record, key and deadline of every message.
        inference: Answers each message.
    """

    def __init__(self, calls: Calls, inference: Inference) -> None:
        self._calls = calls
        self._inference = inference

    async def handle(self, _requests: Any, rpc: Rpc) -> None:
        """Answers one stream.

        A request that is refused gets a response with the reason, and the stream continues.
        """
        await self._calls.check_key(rpc)
        headers, room, last = headers_of(rpc), asyncio.Semaphore(AT_ONCE), None
        async with asyncio.TaskGroup() as answers:
            async for content in self._calls.streams.messages(rpc):
                await room.acquire()
                last = answers.create_task(self._answer(content, headers, rpc, last))
                last.add_done_callback(lambda _: room.release())
        if self._calls.streams.ending.is_set():
            await abort(rpc, failure(NotReady("the service stops")), request_id(headers))

    async def _answer(
        self, content: bytes, headers: Headers, rpc: Rpc, before: asyncio.Task[None] | None
    ) -> None:
        """Answers one message, after the one before it; its memory counts until it is written."""
        try:
            with Record(self._calls, STREAM, headers) as context, self._calls.deadline() as deadline:
                deadline.uploaded = True
                self._calls.catalog.admit()
                call = Call(self._calls.catalog, context, content)
                message = await self._inference.infer(call, in_stream=True)
                response = StreamResponse(infer_response=message)
        except Exception as error:
            response = StreamResponse(error_message=failure(error).detail)
            response.infer_response.id = messages.identifier(content)
        if before is not None:
            await asyncio.wait({before})
        with suppress(grpc.aio.BaseError):  # the client disconnected, so its stream ends
            await rpc.write(response.SerializeToString())
