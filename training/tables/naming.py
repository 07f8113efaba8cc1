"""Names of modalities from headers of any script."""

from __future__ import annotations

import re

from anyascii import anyascii

from models_store.manifest import RESERVED

LONGEST = 50
"""Characters of a name, so that a number fits behind it."""


def modality_name(text: str, taken: set[str]) -> str:
    """A name that a modality may have and that none has yet, which it is then taken by.

    Arguments:
        text: A header, or the name of a file, in any script; it is transliterated.
        taken: Names of the other modalities.
    """
    plain = re.sub(r"[^a-z0-9]+", "_", anyascii(text).lower()).strip("_")[:LONGEST].rstrip("_")
    base = plain if plain[:1].isalpha() and plain not in RESERVED else f"m_{plain}".rstrip("_")
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name
