"""Reads images and labels from idx files, the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data.rows import Rows
from training.errors import DataError


def split(folder: Path, prefix: str) -> Rows:
    """Reads `image` and `label` of one split, ``train`` or ``t10k``.

    Raises:
        DataError: A file is missing, damaged, or has another number of rows than its companion.
    """
    images = read(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read(folder / f"{prefix}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise DataError(f"{folder}: {len(images)} images, but {len(labels)} labels")
    return Rows({"image": images, "label": labels.to(torch.int64)})


def read(path: Path) -> Tensor:
    """Reads a gzip-compressed idx file of unsigned bytes, in the shape of its header.

    Raises:
        DataError: The file is missing, or not of that format.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    zeros, unsigned_byte, dimensions = struct.unpack_from(">HBB", content.ljust(4, b"\xff"))
    if (zeros, unsigned_byte) != (0, 8) or len(content) < 4 + 4 * dimensions:
        raise DataError(f"{path} is not an idx file of unsigned bytes")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if values.size != np.prod(shape):
        raise DataError(f"{path}: the header promises the shape {shape}, {values.size} bytes follow")
    return torch.from_numpy(values.reshape(shape).copy())


def download(folder: Path, mirror: str, md5s: Mapping[str, str]) -> Path:
    """Downloads missing files, and keeps only files with the md5 of the authors.

    Arguments:
        folder: Folder of the files.
        mirror: URL of their folder, with a final slash.
        md5s: Hexadecimal md5 by file name.

    Raises:
        DataError: The mirror does not answer, or answers with something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, md5 in md5s.items():
        path = folder / name
        if not path.exists():
            content = _fetch(mirror + name, folder.name)
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                raise DataError(f"{mirror}{name} is not the official file: its md5 is not {md5}")
            draft = path.with_suffix(f".{os.getpid()}.part")
            draft.write_bytes(content)
            draft.replace(path)
    return folder


def cache(source: str) -> Path:
    """Returns the cache folder of a source."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anyview" / source


def _fetch(url: str, source: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - a constant https address
            content: bytes = response.read()
            return content
    except (urllib.error.URLError, TimeoutError) as error:
        raise DataError(
            f"cannot fetch {url} ({error}); put the four files of '{source}' into a folder of that name and "
            "set ANYVIEW_DATA to the folder above it"
        ) from None
