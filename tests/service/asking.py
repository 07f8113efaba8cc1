"""Requests in their different forms."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
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
