"""The service as an ASGI 3 application, under any server."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from benchmarks.servers import free_port
from service.app import app, served
from service.http.application import Application
from service.settings import Settings
from tests.service.running import readiness, running, until

BODY = {"inputs": {"label": [1, 2, 3]}}
APP = "service.app:app"
COMMANDS = {
    "uvicorn": ["uvicorn", APP, "--port", "PORT", "--root-path", "/anyview"],
    "hypercorn": ["hypercorn", APP, "--bind", "127.0.0.1:PORT", "--root-path", "/anyview", "--workers", "0"],
    "granian": ["granian", APP, "--interface", "asgi", "--port", "PORT", "--url-path-prefix", "/anyview"],
}
PREFIXES = {"uvicorn": "", "hypercorn": "/anyview", "granian": "/anyview"}
"""The path prefix of a client's request: uvicorn expects a proxy that cuts it off, the others none."""


@contextmanager
def under(server: str, store: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Runs the service under a server by the server's own command; gives its address when it is ready."""
    if importlib.util.find_spec(server) is None:
        pytest.skip(f"{server} is not installed")
    port = free_port()
    command = [sys.executable, "-m", *(part.replace("PORT", str(port)) for part in COMMANDS[server])]
    environment = {**os.environ, "ANYVIEW_STORE": str(store), "ANYVIEW_GRACE_SECONDS": "0"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603 - ours
    address = f"http://127.0.0.1:{port}"
    try:
        path = f"{PREFIXES[server]}/readyz"
        until(lambda: process.poll() is not None or readiness(address, path) == 200, 120)
        assert process.poll() is None
        yield address, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("server", COMMANDS)
def test_any_server_runs_the_application_unchanged(server: str, bundle_folder: Path) -> None:
    with (
        under(server, bundle_folder.parents[1]) as (address, process),
        httpx2.Client(base_url=address + PREFIXES[server], timeout=60) as client,
    ):
        response = client.post("/encode", json=BODY, headers={"X-Request-ID": "mine"})
        assert response.status_code == 200, response.text
        assert len(response.json()["mu"]) == 3
        assert response.headers.get_list("x-request-id") == ["mine"]
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/anyview"}]
        assert client.get("/docs").headers["content-security-policy"].count("unsafe-inline") == 2
        assert "anyview_requests_total" in client.get("/metrics").text
        assert client.get("/v2/models/tiny/ready").status_code == 200
        client.close()
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize("server", COMMANDS)
def test_a_request_in_progress_at_sigterm_is_answered(server: str, bundle_folder: Path) -> None:
    """The client sends the end of the body after the signal."""
    body = json.dumps(BODY).encode()
    head = (
        f"POST {PREFIXES[server]}/encode HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n"
        f"connection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    with under(server, bundle_folder.parents[1]) as (address, process):
        url = httpx2.URL(address)
        with (
            socket.create_connection((url.host, url.port or 80)) as client,
            client.makefile("rb") as response,
        ):
            client.sendall(head)
            assert response.readline().startswith(b"HTTP/1.1 100 ")  # the service reads the body
            process.send_signal(signal.SIGTERM)
            until(lambda: readiness(address) == 0)  # the server no longer listens
            client.sendall(body)
            assert b"HTTP/1.1 200" in response.read()
        process.wait(60)


class Events:
    """A server without a socket: it sends lifespan events to an application, and no state to its requests."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._received: asyncio.Queue[Any] = asyncio.Queue()
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> Any:
        """Starts the application; returns its answer."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
        self._task = asyncio.create_task(self._application(scope, self._received.get, self._sent.put))
        await self._received.put({"type": "lifespan.startup"})
        return await self._sent.get()

    async def shutdown(self) -> Any:
        await self._received.put({"type": "lifespan.shutdown"})
        return await self._sent.get()

    async def ended(self) -> None:
        assert self._task is not None
        await self._task


async def ask(application: Application, body: bytes, receive: Any = None, **scope: Any) -> list[Any]:
    """Sends one request to /encode of an application; returns the messages of the response."""
    messages: list[Any] = []

    async def body_at_once() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        messages.append(message)

    request = {
        "type": "http",
        "method": "POST",
        "path": "/encode",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
        **scope,
    }
    await application(request, receive or body_at_once, send)
    return messages


@pytest.fixture(scope="module")
def settings(bundle_folder: Path) -> Settings:
    return Settings(store=bundle_folder.parents[1], poll_seconds=0, grace_seconds=0)


def test_requests_of_a_server_that_keeps_no_state_are_answered(settings: Settings) -> None:
    async def check() -> None:
        application = served(settings)
        server = Events(application)
        assert await server.startup() == {"type": "lifespan.startup.complete"}
        for scope in ({}, {"state": {"of": "the server"}}):
            start, body, *_ = await ask(application, json.dumps(BODY).encode(), **scope)
            assert start["status"] == 200, body
        assert await server.shutdown() == {"type": "lifespan.shutdown.complete"}
        await server.ended()

    asyncio.run(check())


@pytest.mark.parametrize("path", ["/below/this/encode", "/encode"], ids=["kept", "cut off"])
@pytest.mark.parametrize("by", ["server", "setting"])
def test_a_root_path_may_be_kept_or_cut_off_by_the_proxy(by: str, path: str, settings: Settings) -> None:
    async def check() -> None:
        adjusted = settings if by == "server" else settings.model_copy(update={"root_path": "/below/this"})
        application = served(adjusted)
        server = Events(application)
        await server.startup()
        scope = {"root_path": "/below/this"} if by == "server" else {}
        start, _, *_ = await ask(application, json.dumps(BODY).encode(), path=path, **scope)
        assert start["status"] == 200
        get = {"method": "GET", "path": path.replace("encode", "openapi.json"), **scope}
        _, document, *_ = await ask(application, b"", **get)
        assert json.loads(document["body"])["servers"] == [{"url": "/below/this"}]
        await server.shutdown()
        await server.ended()

    asyncio.run(check())


def test_the_open_paths_are_open_below_a_root_path(settings: Settings) -> None:
    async def check() -> None:
        keyed = settings.model_copy(update={"root_path": "/anyview", "api_keys": ["not-a-secret"]})
        application = served(keyed)
        server = Events(application)
        await server.startup()
        for path, status in {"/anyview/readyz": 200, "/readyz": 200, "/anyview/models": 401}.items():
            start, *_ = await ask(application, b"", method="GET", path=path)
            assert start["status"] == status, path
        await server.shutdown()
        await server.ended()

    asyncio.run(check())


def test_the_shutdown_waits_for_requests_in_progress_in_any_thread(settings: Settings) -> None:
    async def check() -> None:
        application = served(settings)
        server = Events(application)
        await server.startup()
        reads, rest = asyncio.Event(), asyncio.Event()

        async def receive() -> Any:
            reads.set()
            await rest.wait()
            return {"type": "http.request", "body": json.dumps(BODY).encode()}

        request = asyncio.create_task(ask(application, b"", receive))
        await reads.wait()
        ends = asyncio.create_task(server.shutdown())
        done, _ = await asyncio.wait({ends, request}, timeout=0)
        assert not done
        rest.set()
        start, *_ = await request
        assert start["status"] == 200
        assert await ends == {"type": "lifespan.shutdown.complete"}
        await server.ended()

    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(check())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(120)
    assert not failures


def test_settings_that_are_wrong_are_reported_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYVIEW_PORT", "many")

    async def check() -> None:
        server = Events(app)
        answer = await server.startup()
        assert answer["type"] == "lifespan.startup.failed"
        assert "port" in answer["message"]
        with pytest.raises(ValueError, match="port"):
            await server.ended()

    asyncio.run(check())


def test_where_the_lifespan_does_not_arrive_the_answer_says_so() -> None:
    with (
        running(Starlette(routes=[Mount("/anyview", app)])) as (host, port),
        httpx2.Client(base_url=f"http://{host}:{port}") as client,
    ):
        response = client.post("/anyview/encode", json=BODY)
    assert response.status_code == 503
    assert "sends no lifespan events" in response.json()["detail"]
