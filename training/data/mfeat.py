"""Multiple Features: six views of 2,000 handwritten digits, and the label.

References:
    | Handwritten digit recognition by combined classifiers (van Breukelen, Duin, Tax & den Hartog, 1998)
    | https://archive.ics.uci.edu/dataset/72/multiple+features
"""

from __future__ import annotations

from pathlib import Path

import torch

from models_store.kinds.fields import Column
from models_store.manifest import Modality
from training.data import archive
from training.data.mnist import LABEL
from training.data.rows import Rows, Splits

TEST_SHARE = 0.2
"""Share of test rows. There is no official split; rows are sorted by class, so they are shuffled once."""


def _vector(name: str, columns: int, dtype: str) -> Modality:
    return Modality(
        name=name,
        kind="vector",
        shape=(columns,),
        dtype=dtype,
        likelihood="normal",
        columns=tuple(Column(name=f"{name}{number}") for number in range(1, columns + 1)),
    )


PIX = Modality(
    name="pix",
    kind="image",
    shape=(16, 15),
    dtype="uint8",
    likelihood="bernoulli",
    range=(0, 6),
)
MODALITIES = (
    _vector("fou", 76, "float32"),
    _vector("fac", 216, "uint16"),
    _vector("kar", 64, "float32"),
    PIX,  # averages of 2 x 3 pixels, 0 ... 6: a small picture
    _vector("zer", 47, "float32"),
    _vector("mor", 6, "float32"),
    LABEL,
)


def load(folder: Path) -> Splits:
    """Loads four fifths as training rows and one fifth as test rows, shuffled.

    Arguments:
        folder: Folder of ``mfeat.npz``.

    Raises:
        DataError: The file is missing or damaged.
    """
    path = folder / "mfeat.npz"
    keys = {modality.name: modality.name for modality in MODALITIES} | {"label": "labels"}
    arrays = archive.read(path, list(keys.values()))
    archive.check(path, arrays, {"pix": (240,)} | {keys[m.name]: m.shape for m in MODALITIES if m is not PIX})
    arrays["pix"] = arrays["pix"].reshape(-1, *PIX.shape)
    rows = Rows({name: arrays[key] for name, key in keys.items()})
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    held_out = round(len(rows) * TEST_SHARE)
    return Splits(MODALITIES, rows.take(order[held_out:]), rows.take(order[:held_out]))
