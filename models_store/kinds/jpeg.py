"""Scans of a JPEG: each visits all pixels, however few bytes it has."""

from __future__ import annotations

import re

from models_store.errors import UnreadableFile

START_OF_SCAN = b"\xff\xda"
END_OF_IMAGE = 0xD9
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker (ITU-T T.81, annex B) but those that restart within a scan; 255 and 0 are a byte of a scan."""
BARE = frozenset({*range(0xC0), 0xD8})
"""Markers without a segment behind them."""
USUAL_SCANS = 16
"""A progressive JPEG has some 10. So many take less time than the rest of the work."""
MAX_SCANS = 100
MAX_SEGMENTS = 50_000
FILL = b"\xff" * 4096
"""Bytes that may come before a marker: libjpeg reads all of them again for each 64 KiB that follow."""
SEARCHED_AT_ONCE = 2**20
"""Bytes between which other threads run."""


def scans(content: bytes) -> int:
    """Number of scans.

    Raises:
        UnreadableFile: There are more than ``MAX_SCANS`` scans or ``MAX_SEGMENTS`` segments, or much filling.
    """
    number, place = 0, 2
    for _ in range(MAX_SEGMENTS):
        marker = _next_marker(content, place)
        if content.find(FILL, place, marker) >= 0:
            raise UnreadableFile(
                f"a JPEG may have {len(FILL)} bytes of filling in a row, this one has more; save it again"
            )
        if marker is None or content[marker + 1] == END_OF_IMAGE:
            return number
        place = marker + 2
        if content[marker + 1] not in BARE:
            place += int.from_bytes(content[place : place + 2])
        if content[marker : marker + 2] == START_OF_SCAN:
            number += 1
            if number > MAX_SCANS:
                raise UnreadableFile(
                    f"a JPEG may have {MAX_SCANS} scans, this one has more; save it as a baseline JPEG or PNG"
                )
    raise UnreadableFile(f"a JPEG may have {MAX_SEGMENTS} segments, this one has more; save it as PNG")


def _next_marker(content: bytes, start: int) -> int | None:
    for begin in range(start, len(content), SEARCHED_AT_ONCE):
        if match := MARKER.search(content, begin, begin + SEARCHED_AT_ONCE + 1):
            return match.start()
    return None


def weight(number: int) -> int:
    """As how many each pixel of a picture with so many scans counts."""
    return max(1, -(-number // USUAL_SCANS))
