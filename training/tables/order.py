"""Order of the labels of a column: the one that its file states, else that of sizes or of known scales."""

from __future__ import annotations

from training.tables.scales import in_order
from training.tables.survey import Field


def labels_in_order(field: Field) -> tuple[list[str], bool]:
    """The labels of a column in their order, and whether it is one of size rather than of the alphabet."""
    labels = field.values or {}
    stated = [label for label in field.order if label in labels]
    return (stated, True) if labels and len(stated) == len(labels) else in_order(labels)
