"""Fashion-MNIST: `image` (28 x 28 uint8) and the name of the article, `label`, from the official idx files.

References:
    | Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms (Xiao, Rasul &
      Vollgraf, 2017)
    | https://arxiv.org/abs/1708.07747
"""

from __future__ import annotations

from pathlib import Path

from training.data import idx, mnist
from training.data.rows import Splits

MIRROR = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}

IMAGE = mnist.IMAGE
LABEL = mnist.LABEL.with_changes(
    {
        "labels": (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        )
    }
)


def load(folder: Path | None) -> Splits:
    """Loads both official splits.

    Arguments:
        folder: Folder of the four files; None to download them once.

    Raises:
        DataError: A file is missing, damaged, or cannot be fetched.
    """
    home = folder or idx.download(idx.cache("fashion_mnist"), MIRROR, MD5)
    return Splits((IMAGE, LABEL), idx.split(home, "train"), idx.split(home, "t10k"))
