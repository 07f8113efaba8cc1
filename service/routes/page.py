"""GET /: the browser page, static files that ship with the service."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from service.errors import NotFound

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "page"
MEDIA = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

# A browser revalidates its copy each time, so that a new service shows its new page.
CACHE = "no-cache"


@dataclass(frozen=True)
class Asset:
    """One file of the page."""

    content: bytes
    media_type: str
    tag: str


@cache
def assets() -> dict[str, Asset]:
    """Returns the files by name; they are read once, so that no request reaches the disk."""
    files = {}
    for path in FOLDER.iterdir():
        if path.suffix in MEDIA:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            files[path.name] = Asset(content, f"{MEDIA[path.suffix]}; charset=utf-8", tag)
    return files


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """The page."""
    return _reply(request, "index.html")


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def page_file(request: Request, name: str) -> Response:
    """A file of the page."""
    if name not in assets():
        raise NotFound(f"the page has no file '{name}'")
    return _reply(request, name)


def _reply(request: Request, name: str) -> Response:
    asset = assets()[name]
    headers = {"cache-control": CACHE, "etag": asset.tag}
    if asset.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)
