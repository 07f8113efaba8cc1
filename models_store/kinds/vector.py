"""Vectors: numbers by column, from JSON or CSV; an empty cell is missing."""

from __future__ import annotations

from typing import Any

from models_store.arrays import Array
from models_store.errors import WrongValue
from models_store.kinds import table
from models_store.kinds.base import Kind
from models_store.kinds.fields import ModalityFields
from models_store.likelihoods import FAMILIES


class VectorKind(Kind):
    name = "vector"
    files = "Numbers as JSON or CSV"
    fields = frozenset({"columns"})
    tabular = True
    cells_may_be_missing = True

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 1

    def suits_array(self, shape: tuple[int, ...], dtype: str, counted: bool) -> bool:
        return len(shape) == 1 and not counted

    def rows(self, modality: ModalityFields, array: Array) -> Array:
        checked = super().rows(modality, array)
        if FAMILIES[modality.likelihood].above_zero and (low := checked[checked <= 0]).size:
            raise WrongValue(f"'{modality.name}' has numbers above 0 ({modality.likelihood}), got {low[0]}")
        return checked

    def read(self, modality: ModalityFields, content: bytes) -> Array:
        return table.read(modality, content)

    def read_value(self, modality: ModalityFields, value: Any) -> Array:
        if isinstance(value, dict):
            return self.rows(modality, table.from_object(modality, value)[None])
        return super().read_value(modality, value)

    def write(self, modality: ModalityFields, samples: Array) -> tuple[str, bytes]:
        """A CSV with a line per sample."""
        return ".csv", table.write_csv(modality.column_names, samples)
