"""Units of durations in Parquet, which has no type for them: Arrow writes its own schema into the file."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator

UNITS = ("s", "ms", "µs", "ns")
_DURATION, _MILLISECONDS = 18, 1
"""Number of the type among Arrow's, and the unit where none is stated."""


def duration_units(schema: bytes) -> dict[str, str]:
    """The unit of each column of durations by its name; none where the schema cannot be read.

    Arguments:
        schema: Value of ``ARROW:schema``: in base64, a message of Arrow whose header is a schema, written by
            FlatBuffers (https://github.com/apache/arrow, ``format/Schema.fbs``).
    """
    try:
        content = base64.b64decode(schema, validate=True)
        return dict(_durations(content[8:] if content.startswith(b"\xff" * 4) else content[4:]))
    except (binascii.Error, struct.error, UnicodeDecodeError, IndexError):
        return {}


def _durations(message: bytes) -> Iterator[tuple[str, str]]:
    fields = _table(message, _table(message, _number("<I", message, 0), 2), 1)
    for index in range(_number("<I", message, fields)):
        field = fields + 4 + 4 * index
        field += _number("<I", message, field)
        kind = _place(message, field, 2)
        if kind and message[kind] == _DURATION:
            name, unit = _table(message, field, 0), _place(message, _table(message, field, 3), 0)
            size = _number("<I", message, name)
            number = _number("<h", message, unit) if unit else _MILLISECONDS
            yield message[name + 4 : name + 4 + size].decode(), UNITS[number]


def _number(kind: str, content: bytes, at: int) -> int:
    return int(struct.unpack_from(kind, content, at)[0])


def _place(content: bytes, table: int, field: int) -> int:
    """Place of a field of a table; 0 where it is not there."""
    fields = table - _number("<i", content, table)
    if 4 + 2 * field >= _number("<H", content, fields):
        return 0
    offset = _number("<H", content, fields + 4 + 2 * field)
    return table + offset if offset else 0


def _table(content: bytes, table: int, field: int) -> int:
    """Place of what a field of a table refers to.

    Raises:
        IndexError: The table lacks the field.
    """
    place = _place(content, table, field)
    if not place:
        raise IndexError(field)
    return place + _number("<I", content, place)
