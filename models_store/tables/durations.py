"""Units of durations in Parquet, which has no type for them: Arrow writes its own schema into the file."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator

from flatbuffers import encode, packer
from flatbuffers.number_types import Int16Flags
from flatbuffers.table import Table

UNITS = ("s", "ms", "µs", "ns")
MILLISECONDS = 1
"""The unit where none is stated."""
DURATION = 18
"""Number of the type among Arrow's."""


def duration_units(schema: bytes) -> dict[str, str]:
    """The unit of each column of durations by its name; none where the schema cannot be read.

    Arguments:
        schema: Value of ``ARROW:schema``: in base64, a message of Arrow whose header is a schema
            (https://github.com/apache/arrow, ``format/Schema.fbs`` and ``format/Message.fbs``).
    """
    try:
        content = base64.b64decode(schema, validate=True)
        return dict(_durations(content[8:] if content.startswith(b"\xff" * 4) else content[4:]))
    except (binascii.Error, struct.error, UnicodeDecodeError, IndexError, TypeError):  # a bad offset
        return {}


def _durations(content: bytes) -> Iterator[tuple[str, str]]:
    message = Table(content, encode.Get(packer.uoffset, content, 0))
    schema = Table(content, message.Indirect(message.Pos + _place(message, 2)))
    fields = _place(schema, 1)
    for index in range(schema.VectorLen(fields)):
        field = Table(content, schema.Indirect(schema.Vector(fields) + 4 * index))
        kind = field.Offset(_slot(2))
        if kind and content[field.Pos + kind] == DURATION:
            duration = Table(content, field.Indirect(field.Pos + _place(field, 3)))
            unit = duration.GetSlot(_slot(0), MILLISECONDS, Int16Flags)
            yield field.String(field.Pos + _place(field, 0)).decode(), UNITS[unit]


def _place(table: Table, field: int) -> int:
    """Place of a field in its table.

    Raises:
        IndexError: The table lacks the field.
    """
    if not (place := int(table.Offset(_slot(field)))):
        raise IndexError(field)
    return place


def _slot(field: int) -> int:
    """Place of the offset of a field, behind two sizes of two bytes."""
    return 4 + 2 * field
