"""A stand-in for the Hugging Face Hub: repositories in memory, by the requests of huggingface_hub.

Weights and large files go by Git LFS, as on the Hub: a batch request, the bytes, a checksum in the commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHA = "1" * 40
"""The commit of every repository."""
LARGE = 10_000_000
"""Bytes from which on a file goes by LFS; weights always do."""


class Hub(ThreadingHTTPServer):
    """The server.

    Attributes:
        repositories: Files by repository, ``user/name``.
        objects: Contents that were uploaded by LFS, by SHA-256.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _mode(stated: dict[str, Any]) -> str:
    """How a file is uploaded."""
    return "lfs" if stated["size"] > LARGE or stated["path"].endswith(".safetensors") else "regular"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *_arguments: Any) -> None:  # noqa: A002 - the name in the base class
        """Logs nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/api/repos/create":
            name = json.loads(body)
            repository = "/".join(filter(None, (name.get("organization"), name["name"])))
            self.server.repositories.setdefault(repository, {})
            self._answer({"url": f"{self.server.address}/{repository}"})
        elif self.path.startswith("/api/validate-yaml"):
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [{**one, "uploadMode": _mode(one), "shouldIgnore": False} for one in files]
            self._answer({"files": modes})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            self._answer({"transfer": "basic", "objects": [*map(self._place, json.loads(body)["objects"])]})
        else:
            self._commit(self.path.removeprefix("/api/models/").partition("/commit/")[0], body)

    def _place(self, stated: dict[str, Any]) -> dict[str, Any]:
        """Where an object is to be uploaded; one that is there already needs no upload."""
        if stated["oid"] in self.server.objects:
            return stated
        return {**stated, "actions": {"upload": {"href": f"{self.server.address}/lfs/{stated['oid']}"}}}

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        oid = self.path.removeprefix("/lfs/")
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.objects[oid] = content
        self._answer({})

    def _commit(self, repository: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value, files = line["value"], self.server.repositories[repository]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
        self._answer({"commitUrl": f"{self.server.address}/{repository}/commit/{SHA}", "commitOid": SHA})

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/"):
            owner, name, *place = self.path.removeprefix("/api/models/").split("/")
            files = self.server.repositories.get(f"{owner}/{name}", {})
            if place[0] == "tree":
                sizes = {path: len(content) for path, content in files.items()}
                entries = [{"type": "file", "path": path, "size": size} for path, size in sizes.items()]
                self._answer([{**entry, "oid": SHA} for entry in entries])
            else:
                siblings = [{"rfilename": path} for path in files]
                self._answer({"id": f"{owner}/{name}", "sha": SHA, "siblings": siblings})
            return
        repository, _, file = self.path.strip("/").partition(f"/resolve/{SHA}/")
        self._send(self.server.repositories[repository][file])

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), "application/json")

    def _send(self, content: bytes, media: str = "application/octet-stream") -> None:
        self.send_response(200)
        headers = {"content-type": media, "content-length": len(content), "x-repo-commit": SHA}
        headers["etag"] = hashlib.sha256(content).hexdigest()[:40]
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
