"""Requests in their different forms."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

SEVEN = (Path(__file__).parents[1] / "data" / "seven.png").read_bytes()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def pixels(picture: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(picture)))


def parts(**files: bytes | list[bytes]) -> dict[str, Any]:
    """Keyword arguments for a multipart request: several files of one name are several rows."""
    listed = {name: content if isinstance(content, list) else [content] for name, content in files.items()}
    return {
        "files": [(name, (f"{name}.bin", item)) for name, contents in listed.items() for item in contents]
    }


def inputs(**rows: list[Any]) -> dict[str, Any]:
    """Keyword arguments for a JSON request."""
    return {"json": {"inputs": rows}}


def npz(save: Callable[..., None] = np.savez, /, **arrays: Any) -> dict[str, Any]:
    """Keyword arguments for a request with an archive."""
    stream = io.BytesIO()
    save(stream, **arrays)
    return {"content": stream.getvalue(), "headers": {"content-type": "application/x-npz"}}


def table(text: str) -> dict[str, Any]:
    """Keyword arguments for a request with a table."""
    return {"content": text.encode(), "headers": {"content-type": "text/csv; charset=utf-8"}}


def ask(client: TestClient, path: str, /, *, accept: str = "application/json", **body: Any) -> Any:
    """The answer, which must be one: parsed where it is JSON, else its bytes."""
    headers = {"accept": accept, **body.pop("headers", {})}
    response = client.post(path, headers=headers, **body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].partition(";")[0] == accept
    return response.json() if accept == "application/json" else response.content
