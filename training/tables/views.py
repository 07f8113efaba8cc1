"""Views of a table: which of its columns form one modality.

Columns of one file that are of one role form few views: all of them where the file holds nothing else and has
no gaps; else those whose headers begin with the same word, or which are missing in the same rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.tables.roles import Decision, Role
from training.tables.survey import Field
from training.tables.words import shared_words

WIDE = 50
"""Columns from which on a part of them that begins with one word is no view of its own."""
CLEAR_GAP = 0.02
"""Share of rows that columns must lack together to be a view of their own."""
SUFFIXES: Mapping[Role, str] = {"measure": "", "skewed": "_log", "level": "", "count": "_counts"}
"""Roles whose columns stand side by side in a view, and what follows the name of the file."""


@dataclass(frozen=True)
class View:
    """Fields that become one modality.

    Arguments:
        title: Text from which its name is made.
        role: Role of all fields.
        fields: The fields, of one file.
    """

    title: str
    role: Role
    fields: tuple[Field, ...]


def form_views(decisions: Sequence[Decision]) -> list[View]:
    """The views of all fields that are not left out: arrays, files and categories alone, others together."""
    used = [one for one in decisions if one.role != "left out"]
    views = [View(one.field.label, one.role, (one.field,)) for one in used if one.role not in SUFFIXES]
    for role, suffix in SUFFIXES.items():
        by_file: dict[str, list[Field]] = defaultdict(list)
        for one in used:
            if one.role == role:
                by_file[str(one.field.file.path)].append(one.field)
        for path, fields in by_file.items():
            alone = len(fields) == sum(str(one.field.file.path) == path for one in used)
            stem = fields[0].file.path.stem
            groups = _groups(fields, alone)
            for title, group in groups.items():
                shared = title or (stem if alone and len(groups) == 1 else f"{stem}{suffix}")
                views.append(View(shared, role, tuple(group)))
    return views


def regrouped(views: Sequence[View], names: Mapping[str, str]) -> list[View]:
    """The views of fields that the user has grouped: one for each role of a group, categories alone.

    Arguments:
        views: The views that were formed.
        names: Name of the group by header of a column; columns of no group stay in their views.
    """
    grouped: dict[tuple[str, Role], list[Field]] = defaultdict(list)
    others: list[View] = []
    for view in views:
        mine = [field for field in view.fields if field.name in names and view.role in SUFFIXES]
        for field in mine:
            grouped[names[field.name], view.role].append(field)
        rest = tuple(field for field in view.fields if field not in mine)
        if rest:
            others.append(View(view.title, view.role, rest))
    titles = [title for title, _ in grouped]
    joint = [
        View(title if titles.count(title) == 1 else f"{title}{SUFFIXES[role]}", role, tuple(fields))
        for (title, role), fields in grouped.items()
    ]
    return joint + others


def _groups(fields: Sequence[Field], alone: bool) -> dict[str, list[Field]]:
    """Columns of one file and role by title; without a title those that nothing sets apart.

    Arguments:
        fields: The columns.
        alone: Whether the file has no columns of other roles.
    """
    words = shared_words([field.label for field in fields])
    complete = None not in words and all(word and word.isalpha() for word in words)
    clear = complete and 2 * len(set(words)) <= len(fields)
    uniform = alone and not any(field.missing for field in fields)
    seldom = 3 * words.count(None) > len(fields)
    if not clear and (uniform or seldom or len(fields) > WIDE):
        words = [None] * len(fields)
    groups: dict[str, list[Field]] = defaultdict(list)
    by_pattern: dict[int, list[Field]] = defaultdict(list)
    for field, word in zip(fields, words, strict=True):
        if word is not None:
            groups[word].append(field)
        else:
            by_pattern[field.pattern].append(field)
    for group in by_pattern.values():
        apart = len(group) > 1 and group[0].missing >= CLEAR_GAP and len(by_pattern) > 1
        groups[group[0].label if apart else ""] += group
    order = {field.name: position for position, field in enumerate(fields)}
    return {title: sorted(group, key=lambda field: order[field.name]) for title, group in groups.items()}
