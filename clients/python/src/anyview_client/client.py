"""The clients: one that blocks, and one for asyncio."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import quote

import httpx

from anyview_client import calls
from anyview_client.calls import Call
from anyview_client.errors import ServiceError
from anyview_client.retries import UNANSWERED, Retries

P = ParamSpec("P")
T = TypeVar("T")


class _Settings:
    """Requests and responses of both clients."""

    def __init__(self, model: str | None, retries: Retries) -> None:
        self.model = model
        self.retries = retries

    def request(self, call: Call[T]) -> dict[str, Any]:
        """Arguments of ``httpx.Client.request``."""
        model = call.model or self.model
        headers = {"accept": call.accept}
        if call.body is not None:
            headers["content-type"] = call.body.media
        return {
            "method": "GET" if call.body is None else "POST",
            "url": call.path.replace("{model}", f"/models/{quote(model, safe='')}" if model else ""),
            "params": call.query,
            "headers": headers,
            "content": None if call.body is None else call.body.content,
        }


def _http(base_url: str, key: str | None, timeout: float) -> dict[str, Any]:
    headers = {"user-agent": "anyview-client"} | ({"authorization": f"Bearer {key}"} if key else {})
    return {"base_url": base_url, "headers": headers, "timeout": timeout}


def _read(call: Call[T], response: httpx.Response) -> T:
    if response.status_code != httpx.codes.OK:
        raise ServiceError.of(response)
    return call.read(response)


def _blocking(prepare: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    @functools.wraps(prepare)
    def method(client: Client, /, *arguments: P.args, **options: P.kwargs) -> T:
        return client.send(prepare(*arguments, **options))

    return method


def _awaited(prepare: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @functools.wraps(prepare)
    async def method(client: AsyncClient, /, *arguments: P.args, **options: P.kwargs) -> T:
        return await client.send(prepare(*arguments, **options))

    return method


class Client:
    """Client of a service; threads may share it.

    Arguments:
        base_url: Address of the service, with its prefix behind a proxy.
        key: Key of the service.
        model: Model of calls that name none; default: the service's.
        timeout: Seconds that connecting, sending and each wait for bytes may take.
        retries: Bounds of repeated requests.
        transport: Transport of httpx, for proxies and tests.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8000",
        *,
        key: str | None = None,
        model: str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(**_http(base_url, key, timeout), transport=transport)
        self._settings = _Settings(model, retries or Retries())

    encode = _blocking(calls.encode)
    generate = _blocking(calls.generate)
    score = _blocking(calls.score)
    fill = _blocking(calls.fill)
    models = _blocking(calls.models)
    manifest = _blocking(calls.manifest)

    def send(self, call: Call[T]) -> T:
        """Sends a prepared request, again where the service was busy, and reads the response."""
        request, attempt = self._settings.request(call), 0
        while True:
            attempt += 1
            try:
                response = self._http.request(**request)
            except UNANSWERED:
                if (wait := self._settings.retries.wait(attempt, None)) is None:
                    raise
            else:
                if (wait := self._settings.retries.wait(attempt, response)) is None:
                    return _read(call, response)
            time.sleep(wait)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """The same client for asyncio: its methods are coroutines.

    Arguments:
        base_url: Address of the service, with its prefix behind a proxy.
        key: Key of the service.
        model: Model of calls that name none; default: the service's.
        timeout: Seconds that connecting, sending and each wait for bytes may take.
        retries: Bounds of repeated requests.
        transport: Transport of httpx, for proxies and tests.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8000",
        *,
        key: str | None = None,
        model: str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(**_http(base_url, key, timeout), transport=transport)
        self._settings = _Settings(model, retries or Retries())

    encode = _awaited(calls.encode)
    generate = _awaited(calls.generate)
    score = _awaited(calls.score)
    fill = _awaited(calls.fill)
    models = _awaited(calls.models)
    manifest = _awaited(calls.manifest)

    async def send(self, call: Call[T]) -> T:
        """Sends a prepared request, again where the service was busy, and reads the response."""
        request, attempt = self._settings.request(call), 0
        while True:
            attempt += 1
            try:
                response = await self._http.request(**request)
            except UNANSWERED:
                if (wait := self._settings.retries.wait(attempt, None)) is None:
                    raise
            else:
                if (wait := self._settings.retries.wait(attempt, response)) is None:
                    return _read(call, response)
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
