"""An npz archive: arrays by modality; a boolean ``mask.NAME`` says which rows have it."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from models_store import kinds
from models_store.errors import UnreadableFile, listed, shown
from models_store.kinds import arrays
from models_store.manifest import Modality
from service.engine.observations import Column
from service.engine.rules import Rules
from service.errors import TooLarge, Unparsable, WrongInput, located
from service.formats import npz

Array = np.ndarray[Any, np.dtype[Any]]

MASK = "mask."
ENCRYPTED = 1
"""The bit of a member's flags."""
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError),
    *(ValueError, NotImplementedError, MemoryError),
)
"""What zipfile raises at archives that are cut, altered, encrypted, or packed in an unknown way."""


def columns(rules: Rules, body: bytes, limit: int) -> dict[str, Column]:
    """The arrays by modality.

    Arguments:
        rules: Of the model whose modalities they are.
        body: Of the request.
        limit: The most bytes that it may have when it is unpacked.

    Raises:
        Unparsable: It is no archive, or an array in it cannot be read.
        WrongInput: A name is unknown, or an array does not fit.
        TooLarge: Unpacked it is longer than the limit.
    """
    found = _unpack(body, limit)
    names = [name for name in found if not name.startswith(MASK)]
    for name in names:
        rules.modality(name)
    for mask in found.keys() - set(names):
        if mask.removeprefix(MASK) not in names:
            raise WrongInput(f"array {shown(mask)} is the mask of nothing; the archive holds {listed(names)}")
    return {
        name: column(rules.modality(name), found[name], found.get(MASK + name), f"array '{name}'")
        for name in names
    }


def column(modality: Modality, sent: Array, mask: Array | None, where: str) -> Column:
    """The rows in an array, of which a mask may say that some are missing.

    Raises:
        WrongInput: Shape, dtype, a value, or the mask does not fit.
    """
    if mask is None:
        return Column(located(where, kinds.rows, modality, sent))
    check_mask(mask, len(sent) if sent.ndim else 0, where)
    if mask.all():
        return Column(located(where, kinds.rows, modality, sent))
    observed = located(where, kinds.rows, modality, sent[mask])
    values = np.zeros((len(mask), *modality.shape), modality.numpy_dtype)
    values[mask] = observed  # whatever stands in the others is nobody's
    return Column(values, mask)


def check_mask(mask: Array | None, rows: int, where: str) -> None:
    """Refuses what cannot say which of so many rows are there.

    Raises:
        WrongInput: It is not boolean, or has not a value per row.
    """
    if mask is not None and (mask.dtype != bool or mask.shape != (rows,)):
        raise WrongInput(
            f"the mask of {where} must be boolean with one value per row, ({rows},), "
            f"got {mask.dtype} of shape {mask.shape}"
        )


def _unpack(body: bytes, limit: int) -> dict[str, Array]:
    members = npz.stored(body, limit)
    found: dict[str, Array] = {}
    for file, content in _unzip(body, limit) if members is None else members:
        name = file.removesuffix(".npy")
        if name in found:
            raise WrongInput(f"array {shown(name)} is in the archive twice")
        try:
            found[name] = _read_npy(content)
        except UnreadableFile as error:
            raise Unparsable(f"array {shown(name)}: {error}") from None
    return found


def _unzip(body: bytes, limit: int) -> list[tuple[str, bytes]]:
    """The members of any archive, or what is wrong with it."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            members = packed.infolist()
            if any(member.flag_bits & ENCRYPTED for member in members):
                raise Unparsable("the archive (npz) is encrypted")
            size = sum(member.file_size for member in members)
            if size > limit:
                raise TooLarge(f"the archive has {size} bytes unpacked, and may have {limit}")
            # No member gives more than the directory says, so nothing larger is ever held.
            return [(member.filename, packed.read(member)) for member in members]
    except DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Unparsable(f"the archive (npz) cannot be read: {reason[:120]}") from None


def _read_npy(content: bytes) -> Array:
    if not content.startswith(arrays.MAGIC):
        raise UnreadableFile(f"an archive holds .npy files, got bytes that begin with {content[:8]!r}")
    return arrays.read_npy(content)
