"""MNIST: `image` (28 x 28 uint8) and `label`, from the official idx files.

References:
    | Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio & Haffner, 1998)
"""

from __future__ import annotations

from pathlib import Path

from models_store.manifest import Modality
from training.data import idx
from training.data.rows import Splits

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
    range=(0, 255),
    background=0,
)
LABEL = Modality(
    name="label",
    kind="category",
    shape=(),
    dtype="int64",
    likelihood="categorical",
    labels=tuple("0123456789"),
)


def load(folder: Path | None) -> Splits:
    """Loads both official splits.

    Arguments:
        folder: Folder of the four files; None to download them once.

    Raises:
        DataError: A file is missing, damaged, or cannot be fetched.
    """
    home = folder or idx.download(idx.cache("mnist"), MIRROR, MD5)
    return Splits((IMAGE, LABEL), idx.split(home, "train"), idx.split(home, "t10k"))
