"""What clients sent, byte for byte, and in which form they were answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Exchange:
    """A request that succeeded.

    Arguments:
        sent: The media type of its body.
        body: That body.
        answered: The media type of the answer.
    """

    sent: str
    body: bytes
    answered: str


class Hearing:
    """Stands around the service, and writes down every exchange."""

    def __init__(self, app: ASGIApp, exchanges: list[Exchange]) -> None:
        self._app = app
        self._exchanges = exchanges

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()

        async def received() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                media = _media(scope["headers"]), _media(message["headers"])
                self._exchanges.append(Exchange(media[0], bytes(body), media[1]))  # before the client has it
            await send(message)

        await self._app(scope, received, sent)


def _media(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return Headers(raw=list(headers)).get("content-type", "").partition(";")[0]
