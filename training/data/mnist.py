"""MNIST: `image` (28 x 28 uint8) and `label`, from the official idx files.

References:
    | Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio & Haffner, 1998)
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models_store.manifest import Modality
from training.data.rows import Rows, Splits
from training.errors import DataError

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}

IMAGE = Modality(
    name="image",
    kind="image",
    shape=(28, 28),
    dtype="uint8",
    likelihood="bernoulli",
    parameters=("logits",),
    range=(0, 255),
)
LABEL = Modality(
    name="label",
    kind="category",
    shape=(),
    dtype="int64",
    likelihood="categorical",
    parameters=("logits",),
    labels=tuple("0123456789"),
)


def load(folder: Path | None) -> Splits:
    """Both official splits.

    Arguments:
        folder: Where the four files lie; None to download them once.

    Raises:
        DataError: A file is missing, damaged, or cannot be fetched.
    """
    home = folder or download(_cache(), MIRROR)
    return Splits((IMAGE, LABEL), _split(home, "train"), _split(home, "t10k"))


def download(folder: Path, mirror: str) -> Path:
    """Fetches what is not there yet, and keeps only files whose md5 is that of the authors.

    Raises:
        DataError: The mirror does not answer, or answers with something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, md5 in MD5.items():
        path = folder / name
        if not path.exists():
            content = _fetch(mirror + name)
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                raise DataError(f"{mirror}{name} is not the official file: its md5 is not {md5}")
            draft = path.with_suffix(f".{os.getpid()}.part")
            draft.write_bytes(content)
            draft.replace(path)
    return folder


def read_idx(path: Path) -> Tensor:
    """The unsigned bytes of a gzip-compressed idx file, in the shape that its header gives.

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


def _split(folder: Path, prefix: str) -> Rows:
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise DataError(f"{folder}: {len(images)} images, but {len(labels)} labels")
    return Rows({"image": images, "label": labels.to(torch.int64)})


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anyview" / "mnist"


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - a constant https address
            content: bytes = response.read()
            return content
    except (urllib.error.URLError, TimeoutError) as error:
        raise DataError(
            f"cannot fetch {url} ({error}); put the four MNIST files into a folder 'mnist' and set "
            "ANYVIEW_DATA to the folder above it"
        ) from None
