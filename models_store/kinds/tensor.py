"""Tensors: arrays of any shape, read from and written to ``.npy``."""

from __future__ import annotations

from models_store.arrays import Array
from models_store.errors import UnreadableFile
from models_store.kinds.base import Kind
from models_store.kinds.fields import ModalityFields


class TensorKind(Kind):
    name = "tensor"
    files = "An .npy file with a leading row axis"
    suffixes = (".npy",)

    def fits(self, shape: tuple[int, ...]) -> bool:
        return True

    def read(self, modality: ModalityFields, content: bytes) -> Array:
        raise UnreadableFile(f"a tensor must come as .npy, got bytes that begin with {content[:8]!r}")
