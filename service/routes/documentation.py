"""GET /openapi.json and /docs: the OpenAPI document, and Swagger UI from files that ship with the service."""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from service.http.forwarded import Proxies

STATIC = "/static-offline-docs"
FOLDER = Path(fastapi_offline.__file__).with_name("static")


def add_documentation(app: FastAPI, proxies: Proxies) -> None:
    """Adds the paths to the application; addresses in the page are relative, so that any prefix works.

    Arguments:
        app: Application whose ``openapi`` returns the document.
        proxies: Reader of the prefix under which clients reach the service.
    """

    async def document(request: Request) -> Response:
        prefix = proxies.prefix(request.scope)
        content = {**app.openapi(), **({"servers": [{"url": prefix}]} if prefix else {})}
        return JSONResponse(content, headers={"Cache-Control": "no-cache"})

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
