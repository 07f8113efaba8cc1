"""An answer to the media type that was asked for."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from fastapi import Response

from models_store.codecs import image
from service.errors import NotAcceptable, WrongInput
from service.inference import Generated, Model, listed

JSON = "application/json"
NPZ = "application/x-npz"
PNG = "image/png"

Answer = Mapping[str, Any]
"""A tree of mappings, arrays, lists, strings and numbers."""


def negotiate(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type that the client prefers (RFC 9110, section 12.5.1); ties go to the first.

    Raises:
        NotAcceptable: It takes none of them.
    """
    ranges = [_media_range(item) for item in (accept or "*/*").split(",") if item.strip()]
    quality = {media: _quality(media, ranges) for media in offered}
    best = max(offered, key=lambda media: quality[media])
    if quality[best] <= 0:
        raise NotAcceptable(f"the answer can be {listed(offered)}, Accept asks for '{accept}'")
    return best


def reply(media: str, answer: Answer) -> Response:
    """The whole answer as JSON or npz."""
    content = _to_npz(answer) if media == NPZ else _to_json(answer)
    return Response(content, media_type=media)


def picture(model: Model, generated: Generated) -> Response:
    """The samples of the one image target: a row of pictures per row of the request.

    Raises:
        WrongInput: Not exactly one target is an image.
    """
    images = [name for name in generated.targets if model.manifest.modality(name).kind == "image"]
    if len(images) != 1:
        raise WrongInput(
            f"{PNG} shows one image, but the targets are {listed(generated.targets)}; choose with gen_mod"
        )
    modality = model.manifest.modality(images[0])
    return Response(image.write_png_grid(modality, generated.targets[images[0]]["samples"]), media_type=PNG)


def _to_json(answer: Answer) -> bytes:
    # What is not finite becomes null.
    return orjson.dumps(answer, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # of strings, or not contiguous
        return value.tolist() if value.dtype.kind == "U" else np.ascontiguousarray(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _to_npz(answer: Answer) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **dict(_leaves(answer)))
    return stream.getvalue()


def _leaves(answer: Answer, path: str = "") -> list[tuple[str, Any]]:
    """The same tree, its branches joined by dots."""
    leaves: list[tuple[str, Any]] = []
    for key, value in answer.items():
        if isinstance(value, Mapping):
            leaves += _leaves(value, f"{path}{key}.")
        elif value is not None:
            leaves.append((f"{path}{key}", np.asarray(value)))
    return leaves


def _media_range(item: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media, 0.0
    return media, 1.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """That of the most specific range that matches."""
    kind = media.partition("/")[0]
    for pattern in (media, f"{kind}/*", "*/*"):
        for wanted, quality in ranges:
            if wanted == pattern:
                return quality
    return 0.0
