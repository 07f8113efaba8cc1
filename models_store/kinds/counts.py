"""Counts: whole numbers from 0 by column, read and written as vectors are."""

from __future__ import annotations

from models_store.kinds.vector import VectorKind


class CountsKind(VectorKind):
    name = "counts"
    files = "Counts as JSON or CSV"
    lowest = 0
    usual_likelihood = "negative_binomial"

    def suits_array(self, shape: tuple[int, ...], dtype: str, counted: bool) -> bool:
        return len(shape) == 1 and counted
