"""Bounds the pixels that one request may make the service decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models_store.errors import UnreadableFile
from models_store.kinds.base import from_base64
from models_store.kinds.image import MAX_PIXELS
from service.engine.rules import Rules
from service.errors import TooLarge


def check(rules: Rules, files: Mapping[str, Sequence[bytes | str]]) -> None:
    """Refuse pictures of too many pixels by their headers, before any of them is decoded.

    A single picture is checked where it is read.

    Arguments:
        rules: Rules of the model.
        files: Files, or their base64, by modality.

    Raises:
        WrongInput: A modality is unknown.
        TooLarge: The pictures of the request have more than ``MAX_PIXELS`` pixels.
    """
    pictures = [
        (traits, file)
        for name, contents in files.items()
        if (traits := rules.modality(name).traits).pictures
        for file in contents
    ]
    if len(pictures) < 2:
        return
    total = 0
    for number, (traits, file) in enumerate(pictures, 1):
        try:
            total += traits.pixels(from_base64(file) if isinstance(file, str) else file)
        except UnreadableFile:
            continue  # the reader gives the reason
        if total > MAX_PIXELS:
            raise TooLarge(
                f"the pictures of one request may have {MAX_PIXELS} pixels, the first {number} of "
                f"{len(pictures)} have {total}; send smaller pictures, or fewer"
            )
