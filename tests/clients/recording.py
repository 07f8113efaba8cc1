"""A recorder of requests, byte for byte, and of the media types of their responses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class RecordedRequest:
    """A request that succeeded.

    Arguments:
        request_type: Media type of its body.
        body: Bytes of the body.
        response_type: Media type of the response.
    """

    request_type: str
    body: bytes
    response_type: str


class Recorder:
    """ASGI middleware that records every request with status 200, before the client has the response."""

    def __init__(self, app: ASGIApp, recorded: list[RecordedRequest]) -> None:
        self._app = app
        self._recorded = recorded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()

        async def receive_and_record() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def record_and_send(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                types = _media_type(scope["headers"]), _media_type(message["headers"])
                self._recorded.append(RecordedRequest(types[0], bytes(body), types[1]))
            await send(message)

        await self._app(scope, receive_and_record, record_and_send)


def _media_type(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return Headers(raw=list(headers)).get("content-type", "").partition(";")[0]
