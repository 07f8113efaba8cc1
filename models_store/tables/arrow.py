"""Arrow's own schema in a Parquet file: types that Parquet lacks, such as durations and time zones.

The schema is base64 of a message of Arrow (https://github.com/apache/arrow, ``format/Schema.fbs`` and
``format/Message.fbs``) under the key ``ARROW:schema``.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from flatbuffers import Builder, encode, packer
from flatbuffers.number_types import Int16Flags
from flatbuffers.table import Table

KEY = "ARROW:schema"
UNITS = ("s", "ms", "µs", "ns")
MILLISECONDS = 1
"""The unit where none is stated."""
SCHEMA, DOUBLE, TEXT, LIST, DURATION = 1, 3, 5, 12, 18
"""Numbers of the header of a message and of types."""
DOUBLE_PRECISION = 2
_CONTINUED = b"\xff" * 4
_DAMAGE = (binascii.Error, struct.error, UnicodeDecodeError, IndexError, TypeError)
"""Errors at an offset that leads nowhere."""
Content: TypeAlias = Literal["number", "text", "vector"]
"""Content of an added column: float64, text, or lists of float64."""


def duration_units(schema: bytes) -> dict[str, str]:
    """The unit of each column of durations by its name; none where the schema cannot be read.

    Arguments:
        schema: Value of ``ARROW:schema``.
    """
    try:
        return dict(_durations(_Schema.read(schema)))
    except _DAMAGE:
        return {}


def extended(schema: bytes, added: Sequence[tuple[str, Content]]) -> bytes | None:
    """A schema with further columns behind its own; None where it cannot be read.

    Offsets of flatbuffers are relative, and those to tables point forward: the old message stands unchanged
    behind a new one, whose list of columns points into it.

    Arguments:
        schema: Value of ``ARROW:schema``.
        added: Names and content of the further columns.
    """
    try:
        old = _Schema.read(schema)
        message = _extended(old, added)
    except _DAMAGE:
        return None
    message += b"\0" * (-len(message) % 8)
    return base64.b64encode(_CONTINUED + struct.pack("<i", len(message)) + message)


class _Schema(NamedTuple):
    """A message that holds a schema.

    Arguments:
        content: The message.
        message: Its first table.
        table: The table of the schema.
    """

    content: bytes
    message: Table
    table: Table

    @classmethod
    def read(cls, schema: bytes) -> _Schema:
        content = base64.b64decode(schema, validate=True)
        content = content[8:] if content.startswith(_CONTINUED) else content[4:]
        message = Table(content, encode.Get(packer.uoffset, content, 0))
        return cls(content, message, Table(content, message.Indirect(message.Pos + _place(message, 2))))

    def fields(self) -> list[int]:
        """Positions of the columns in the message."""
        fields = _place(self.table, 1)
        first, count = self.table.Vector(fields), self.table.VectorLen(fields)
        return [self.table.Indirect(first + 4 * index) for index in range(count)]


def _durations(schema: _Schema) -> Iterator[tuple[str, str]]:
    for position in schema.fields():
        field = Table(schema.content, position)
        kind = field.Offset(_slot(2))
        if kind and schema.content[field.Pos + kind] == DURATION:
            duration = Table(schema.content, field.Indirect(field.Pos + _place(field, 3)))
            unit = duration.GetSlot(_slot(0), MILLISECONDS, Int16Flags)
            yield field.String(field.Pos + _place(field, 0)).decode(), UNITS[unit]


def _extended(old: _Schema, added: Sequence[tuple[str, Content]]) -> bytes:
    content = old.content + b"\0" * (-len(old.content) % 8)
    builder = Builder(2 * len(content))
    builder.Prep(8, 0)  # the old message needs places that are multiples of 8
    end = builder.CreateByteVector(content) - 4

    def parts(table: Table, *numbers: int) -> dict[int, int]:
        """Offsets of parts of a table of the old message that are there, by field."""
        places = {number: table.Pos + table.Offset(_slot(number)) for number in numbers}
        return {n: end - table.Indirect(place) for n, place in places.items() if place != table.Pos}

    offsets = [end - position for position in old.fields()]
    fields = _vector(builder, [*offsets, *(_field(builder, *column) for column in added)])
    order = old.table.GetSlot(_slot(0), 0, Int16Flags)
    version = old.message.GetSlot(_slot(0), 0, Int16Flags)
    schema = _table(builder, 4, parts(old.table, 2, 3) | {1: fields}, int16s={0: order})
    header = parts(old.message, 4) | {2: schema}
    builder.Finish(_table(builder, 5, header, int16s={0: version}, bytes_={1: SCHEMA}))
    return bytes(builder.Output())


def _field(builder: Builder, name: str, content: Content) -> int:
    """Writes a column that may have missing values; returns its offset."""
    children, kind, int16s = list[int](), {"number": DOUBLE, "text": TEXT, "vector": LIST}[content], {}
    if content == "vector":
        children = [_field(builder, "element", "number")]
    elif content == "number":
        int16s = {0: DOUBLE_PRECISION}
    parts = {0: builder.CreateString(name), 3: _table(builder, 1, {}, int16s=int16s)}
    return _table(builder, 7, parts | {5: _vector(builder, children)}, bytes_={1: 1, 2: kind})


def _table(
    builder: Builder,
    fields: int,
    offsets: dict[int, int],
    int16s: dict[int, int] | None = None,
    bytes_: dict[int, int] | None = None,
) -> int:
    builder.StartObject(fields)
    for number, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    for number, value in (int16s or {}).items():
        builder.PrependInt16Slot(number, value, 0)
    for number, value in (bytes_ or {}).items():
        builder.PrependUint8Slot(number, value, 0)
    return int(builder.EndObject())


def _vector(builder: Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


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
