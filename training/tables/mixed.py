"""Views of the kind ``table``: all columns of a file side by side, but those that many rows lack together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from models_store.kinds.mixed import TableKind
from training.tables.counts import count_likelihood
from training.tables.draft import Guess
from training.tables.naming import modality_name
from training.tables.order import labels_in_order
from training.tables.roles import Decision, Role
from training.tables.survey import Field

APART, FEWEST = 0.1, 3
"""Share of rows that columns must lack together, and their least number, to be a view of their own."""
TABULAR: Collection[Role] = ("category", "measure", "level", "skewed", "count")
"""Roles of columns of a table."""


def tables_of(
    decisions: Sequence[Decision], spelled: Mapping[int, str], taken: set[str]
) -> tuple[list[Guess], list[Decision]]:
    """Guesses of tables for the columns of every file, and the decisions on all other fields.

    Arguments:
        decisions: Decisions on the fields.
        spelled: Name of each field in the experiment, by its ``id``.
        taken: Names of modalities that are in use; those of the tables are added.
    """
    others = [one for one in decisions if one.role not in TABULAR or one.field.shape]
    columns = [one for one in decisions if one not in others]
    guesses = [_guess(title, group, spelled, taken) for title, group in _groups(columns)]
    return guesses, others


def _groups(columns: Sequence[Decision]) -> Iterator[tuple[str, list[Decision]]]:
    """Title and columns of every table."""
    by_file: dict[str, list[Decision]] = defaultdict(list)
    for one in columns:
        by_file[str(one.field.file.path)].append(one)
    for members in by_file.values():
        patterns: dict[int, list[Decision]] = defaultdict(list)
        for one in members:
            patterns[one.field.pattern].append(one)
        apart = [
            group
            for group in patterns.values()
            if len(group) >= FEWEST and group[0].field.missing >= APART and len(group) < len(members)
        ]
        rest = [one for one in members if not any(one in group for group in apart)]
        if rest:
            yield rest[0].field.file.path.stem, rest
        for group in apart:
            yield group[0].field.label, group


def _guess(title: str, group: Sequence[Decision], spelled: Mapping[int, str], taken: set[str]) -> Guess:
    missing = np.mean([one.field.missing for one in group])
    columns = [_column(one, spelled[id(one.field)]) for one in group]
    comment = f"{len(group)} columns of {group[0].field.file.path.name}; {missing:.0%} of the cells are empty"
    name = modality_name(title, taken)
    return Guess(name, TableKind.name, {"columns": columns}, (len(group),), comment)


def _column(decision: Decision, spelled: str) -> dict[str, Any]:
    field: Field = decision.field
    column: dict[str, Any] = {"name": field.label}
    if field.unit:
        column["unit"] = field.unit
    if spelled != field.label:
        column["field"] = spelled
    if decision.role == "category":
        labels, sized = labels_in_order(field)
        column["labels"] = labels
        if sized and len(labels) > 2:
            column["ordered"] = True
    elif decision.role == "skewed":
        column["likelihood"] = "log_normal"
    elif decision.role == "count":
        column["likelihood"] = count_likelihood([field.sample])
    return column
