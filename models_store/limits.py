"""Limits of a manifest.

A service parses each manifest and sends it. Both hold the interpreter's lock, so that nothing else runs.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import StringConstraints, ValidationError

from models_store.errors import ManifestError, sentence, shown

MAX_MANIFEST_BYTES: Final = 2**23
MOST_OBJECTS, MOST_VALUES = 2**17, 2**19
"""Objects and lists, and commas, of a manifest. An object takes 2 to 5 microseconds to parse, so that all
take half a second; a table of 1,000 columns has 2,000."""
LONGEST_TEXT, LONGEST_DESCRIPTION = 1_000, 10_000
"""Characters of a label, name, header or unit, and of a description or licence."""
MOST_MODALITIES = 1_000
MOST_AXES = 32
LONGEST_PLACE = 200
"""Characters of the path to a wrong field."""

Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
Description = Annotated[str, StringConstraints(max_length=LONGEST_DESCRIPTION)]


def check_document(document: bytes, share: float = 1.0) -> None:
    """Checks the size of a manifest before it is parsed; marks within texts count too.

    Arguments:
        document: The JSON.
        share: Share of the limits that it may take.

    Raises:
        ManifestError: It is larger.
    """
    sizes = {
        "bytes": (len(document), MAX_MANIFEST_BYTES),
        "objects and lists": (document.count(b"{") + document.count(b"["), MOST_OBJECTS),
        "values": (document.count(b","), MOST_VALUES),
    }
    for noun, (size, most) in sizes.items():
        if size > share * most:
            raise ManifestError(f"manifest.json has {size} {noun}, and may have {int(share * most)}")


def place_of(error: Any) -> str:
    """Path of the field that an error of pydantic is about."""
    return sentence(".".join(str(part) for part in error["loc"]))[:LONGEST_PLACE]


def cause_of(error: Any, *, shows_input: bool = False) -> str:
    """Message of an error of pydantic, with the length of a text that is too long.

    Arguments:
        error: The error.
        shows_input: Whether the message ends with the value of other errors.
    """
    if error["type"] == "string_too_long":
        return f"{error['msg']}, got {len(error['input'])}"
    return f"{error['msg']}, got {shown(error['input'])}" if shows_input else str(error["msg"])


def first_of(error: ValidationError) -> Any:
    """First error of a validation."""
    return error.errors(include_url=False, include_context=False)[0]
