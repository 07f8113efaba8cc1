"""GET /openapi.json and /docs: the OpenAPI document, and Swagger UI from files that ship with the service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import fastapi_offline
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.staticfiles import StaticFiles

from service.http.forwarded import Proxies
from service.http.response import JSON

STATIC = "/static-offline-docs"
FOLDER = Path(fastapi_offline.__file__).with_name("static")


def _written(app: FastAPI, prefix: str) -> bytes:
    """Returns the document for clients that reach the service under a prefix, as JSON."""
    servers = {"servers": [{"url": prefix}]} if prefix else {}
    return orjson.dumps({**app.openapi(), **servers})


def add_documentation(app: FastAPI, proxies: Proxies) -> None:
    """Adds the paths to the application; addresses in the page are relative, so that any prefix works.

    Arguments:
        app: Application whose ``openapi`` returns the document.
        proxies: Reader of the prefix under which clients reach the service.
    """
    one_at_a_time = asyncio.Lock()  # the first one makes the document, which takes half a second

    async def document(request: Request) -> Response:
        async with one_at_a_time:
            content = await asyncio.to_thread(_written, app, proxies.prefix(request.scope))
        return Response(content, media_type=JSON, headers={"Cache-Control": "no-cache"})

    async def docs(_request: Request) -> Response:
        return get_swagger_ui_html(
            openapi_url="./openapi.json",
            title=f"{app.title} - Swagger UI",
            swagger_js_url=f".{STATIC}/swagger-ui-bundle.js",
            swagger_css_url=f".{STATIC}/swagger-ui.css",
            swagger_favicon_url=f".{STATIC}/favicon.png",
        )

    app.mount(STATIC, StaticFiles(directory=FOLDER), name="static-offline-docs")
    app.add_api_route("/openapi.json", document, include_in_schema=False)
    app.add_api_route("/docs", docs, include_in_schema=False)
