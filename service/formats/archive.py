"""Reads npz archives: an array per modality, and a boolean ``mask.NAME`` of the rows that have it."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np

from models_store import kinds
from models_store.arrays import Array
from models_store.errors import UnreadableFile, listed, shown
from models_store.kinds import arrays
from models_store.manifest import Modality
from service.engine.budget import Allowance, Costly
from service.engine.observations import Column
from service.engine.rules import Rules
from service.errors import TooLarge, Unparsable, WrongInput, located
from service.formats import npz

MASK = "mask."
ENCRYPTED = 1
"""Bit of the flags of a zip member."""
MOST_MEMBERS = 10_000
"""Members of an archive, whose directory is read in some 0.2 s."""
MOST_INFLATED = 1032
"""Bytes that one byte of deflate can become."""
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflate"}
"""Methods of zip by which members may be packed; zipfile unpacks members packed by another as a whole."""
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError),
    *(ValueError, NotImplementedError, MemoryError),
)
"""Errors of zipfile for archives that are cut, altered, encrypted, or packed by an unknown method."""


def columns(rules: Rules, body: bytes, limit: int, allowance: Allowance | None = None) -> dict[str, Column]:
    """Reads the columns of an archive.

    Arguments:
        rules: Rules of the model.
        body: Body of the request.
        limit: Largest size of the unpacked archive, in bytes.
        allowance: Memory for this work in a thread; None on the event loop.

    Raises:
        Costly: It is compressed, which takes too long for the event loop.
        Unparsable: The body is not an archive, or an array in it cannot be read.
        WrongInput: A name is unknown, or an array does not fit.
        TooLarge: The unpacked archive is larger than the limit.
    """
    members = _unpack(body, limit, allowance)
    names = [name for name in members if not name.startswith(MASK)]
    for name in names:
        _check_text(rules, name, members[name])
    for mask in members.keys() - set(names):
        if mask.removeprefix(MASK) not in names:
            raise WrongInput(f"array {shown(mask)} is the mask of nothing; the archive holds {listed(names)}")
    by_name = rules.by_modality({name: name for name in names})
    return {
        modality: column(rules.modality(name), members[name], members.get(MASK + name), f"array '{name}'")
        for modality, name in by_name.items()
    }


def _check_text(rules: Rules, name: str, sent: Array) -> None:
    """Refuses text for other kinds than categories, and more of it than a request may have rows."""
    modality = rules.modality(name)
    if not arrays.holds_text(sent):
        return
    if modality.labels is None:
        raise Unparsable(f"array '{name}': a .npy must hold numbers or booleans, this one holds {sent.dtype}")
    rules.check_rows(sent.size)


def column(modality: Modality, sent: Array, mask: Array | None, where: str) -> Column:
    """Returns the column of an array and its mask.

    Arguments:
        modality: Modality of the rows.
        sent: Rows, (n, *shape).
        mask: True where a row is present, (n,); None: all are.
        where: Name of the array in error messages.

    Raises:
        WrongInput: Shape, dtype, a value, or the mask does not fit.
    """
    if mask is not None:
        check_mask(mask, len(sent) if sent.ndim else 0, where)
    if mask is None or mask.all():
        return Column(located(where, kinds.rows, modality, sent))
    observed = located(where, kinds.rows, modality, sent[mask])
    values = np.zeros((len(mask), *modality.shape), modality.numpy_dtype)
    values[mask] = observed  # the values that were sent for missing rows are dropped
    return Column.masked(values, mask)


def check_mask(mask: Array | None, rows: int, where: str) -> None:
    """Checks dtype and shape of a mask.

    Raises:
        WrongInput: The mask is not boolean, or has not one value per row.
    """
    if mask is not None and (mask.dtype != bool or mask.shape != (rows,)):
        raise WrongInput(
            f"the mask of {where} must be boolean with one value per row, ({rows},), "
            f"got {mask.dtype} of shape {mask.shape}"
        )


def _unpack(body: bytes, limit: int, allowance: Allowance | None) -> dict[str, Array]:
    members = npz.stored(body, limit)
    if allowance is not None:
        allowance.take(2 * (len(body) if members is not None else min(limit, MOST_INFLATED * len(body))))
    elif members is None:
        raise Costly
    unpacked: dict[str, Array] = {}
    for file, content in _unzip(body, limit) if members is None else members:
        name = file.removesuffix(".npy")
        if name in unpacked:
            raise WrongInput(f"array {shown(name)} is in the archive twice")
        try:
            unpacked[name] = _read_npy(content)
        except UnreadableFile as error:
            raise Unparsable(f"array {shown(name)}: {error}") from None
    return unpacked


def _unzip(body: bytes, limit: int) -> list[tuple[str, bytes]]:
    """Returns name and content of the members of any zip archive."""
    if (count := body.count(npz.ENTRY)) > MOST_MEMBERS:
        raise TooLarge(f"the archive has {count} members, and may have {MOST_MEMBERS}")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            members = packed.infolist()
            if any(member.flag_bits & ENCRYPTED for member in members):
                raise Unparsable("the archive (npz) is encrypted")
            if others := {member.compress_type for member in members} - METHODS.keys():
                raise Unparsable(
                    f"the archive (npz) has a member packed by method {min(others)} of zip; those that are "
                    f"read are {' and '.join(METHODS.values())}, as numpy.savez_compressed writes them"
                )
            size = sum(member.file_size for member in members)
            if size > limit:
                raise TooLarge(f"the archive has {size} bytes unpacked, and may have {limit}")
            # Of these methods, zipfile unpacks no more than the size in the directory, so the limit holds.
            return [(member.filename, packed.read(member)) for member in members]
    except DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Unparsable(f"the archive (npz) cannot be read: {reason[:120]}") from None


def _read_npy(content: bytes) -> Array:
    if not content.startswith(arrays.MAGIC):
        raise UnreadableFile(f"an archive holds .npy files, got bytes that begin with {content[:8]!r}")
    return arrays.read_npy(content, text=True)
