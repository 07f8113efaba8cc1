"""Reads and writes npz archives in a tenth of the time of ``numpy.load`` and ``numpy.savez``.

A stored (not compressed) zip is a sequence of members, each with a header, and a directory at its end.

References:
    | APPNOTE.TXT, .ZIP File Format Specification
    | https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from zlib import crc32

import numpy as np
from numpy.lib import format as npy

from models_store.arrays import Array

Kind = tuple[str, str, tuple[int, ...]]
"""Name, dtype and shape of an array."""

VERSION, UTF8, STORED = 20, 1 << 11, 0
MIDNIGHT, NEW_YEAR_1980 = 0, 33
MOST_BYTES = 2**31
"""Archives up to this size are written here; from 4 GiB on, a zip needs other headers."""
MEMBER, ENTRY, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_MEMBER = Struct("<4sHHHHHIIIHH")
"""Header of a member: signature, version, flags, method, time, date, crc, packed, size, lengths of names."""
_ENTRY = Struct("<4sHHHHHHIIIHHHHHII")
"""Entry of the directory: the writer's version, the member's header, lengths, disk, attributes, offset."""
_READ = Struct("<4s4xHH4xIIIHHHH6xI")
"""Fields of an entry that a reader needs."""
_END = Struct("<4sHHHHIIH")
_CRC = Struct("<I")
CRC_IN_MEMBER, CRC_IN_ENTRY = 14, 16


def archive(arrays: Iterable[tuple[str, Array]]) -> bytes:
    """Writes the bytes of a ``.npz`` file.

    Arguments:
        arrays: Names and arrays.
    """
    named = list(arrays)
    if sum(array.nbytes for _, array in named) > MOST_BYTES:
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **dict(named))
        return stream.getvalue()
    layout = _layout(tuple([(name, array.dtype.str, array.shape) for name, array in named]))
    directory = bytearray(layout.directory)
    parts: list[bytes | bytearray] = []
    for member, (_, array) in zip(layout.members, named, strict=True):
        numbers = array.tobytes()
        crc = _CRC.pack(crc32(numbers, member.crc))
        directory[member.crc_in_directory : member.crc_in_directory + _CRC.size] = crc
        parts += (member.before_crc, crc, member.after_crc, numbers)
    return b"".join([*parts, directory])


def stored(content: bytes, limit: int) -> list[tuple[str, bytes]] | None:
    """Returns the members of a stored archive by name; None for archives that ``zipfile`` must read.

    Those are archives that are compressed, damaged, larger than the limit, or not written as :func:`archive`
    and ``numpy.savez`` do.

    Arguments:
        content: Bytes of the archive.
        limit: Largest size of all members together, in bytes.
    """
    end = len(content) - _END.size
    if end < 0:
        return None
    signature, disk, first_disk, here, count, length, at, comment = _END.unpack_from(content, end)
    if signature != END or disk or first_disk or comment or here != count or at + length != end:
        return None
    members, total = [], 0
    for _ in range(count):
        if at + _ENTRY.size > end:
            return None
        entry = _READ.unpack_from(content, at)
        signature, flags, method, crc, packed, size, named, extra, more, disk, begin = entry
        total += size
        if (signature, method, packed, disk) != (ENTRY, STORED, size, 0) or flags & ~UTF8 or total > limit:
            return None
        name = content[at + _ENTRY.size : at + _ENTRY.size + named]
        at += _ENTRY.size + named + extra + more
        member = _numbers(content, begin, name, size)
        if member is None or crc32(member) != crc or not name.isascii():
            return None
        members.append((name.decode(), member))
    return members if at == end else None


def _numbers(content: bytes, begin: int, name: bytes, size: int) -> bytes | None:
    """Returns the content of a member, or None where its header differs from the directory."""
    if begin + _MEMBER.size > len(content):
        return None
    signature, *_, named, extra = _MEMBER.unpack_from(content, begin)
    start = begin + _MEMBER.size
    if signature != MEMBER or content[start : start + named] != name:
        return None
    start += named + extra
    member = content[start : start + size]
    return member if len(member) == size else None


@dataclass(frozen=True, slots=True)
class _Member:
    """Bytes of a member before the values of its array.

    Arguments:
        before_crc: Header up to the checksum.
        after_crc: Rest of the header, and the header of the ``.npy`` file.
        crc: Checksum of the header of the ``.npy`` file; the values are added to it.
        crc_in_directory: Offset of the checksum in the directory.
    """

    before_crc: bytes
    after_crc: bytes
    crc: int
    crc_in_directory: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """Bytes of an archive without the values of its arrays."""

    members: list[_Member]
    directory: bytes


@lru_cache(maxsize=256)
def _layout(kinds: tuple[Kind, ...]) -> _Layout:
    """Builds a layout. It is cached, since most responses differ in their values alone."""
    members, directory, length = [], bytearray(), 0
    for name, dtype, shape in kinds:
        file, header = f"{name}.npy".encode(), _header(dtype, shape)
        size = len(header) + np.dtype(dtype).itemsize * math.prod(shape)
        shared = (VERSION, UTF8, STORED, MIDNIGHT, NEW_YEAR_1980, 0, size, size, len(file), 0)
        first = _MEMBER.pack(MEMBER, *shared)
        before, after = first[:CRC_IN_MEMBER], first[CRC_IN_MEMBER + _CRC.size :] + file + header
        members.append(_Member(before, after, crc32(header), len(directory) + CRC_IN_ENTRY))
        directory += _ENTRY.pack(ENTRY, VERSION, *shared, 0, 0, 0, 0, length) + file
        length += len(first) + len(file) + size
    end = _END.pack(END, 0, 0, len(kinds), len(kinds), len(directory), length, 0)
    return _Layout(members, bytes(directory + end))


def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    if np.dtype(dtype).hasobject:
        raise TypeError("an array of objects could be stored as a pickle only, which is unsafe to load")
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()
