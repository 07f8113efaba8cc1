"""Sentences under "to check": readings of columns that are likely, but that only the user can confirm."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from training.tables.order import labels_in_order
from training.tables.roles import Decision, holds_number_and_more
from training.tables.scales import in_order
from training.tables.survey import Field

MANY_WHOLE = 8
"""Different whole numbers from which on a category of them may be counts or measures."""
MANY_NUMBERS = 12
"""Labels up to which numbers with text beside them are no reason to ask."""
FEWEST_ORDERED = 3
"""Labels in an order that a further one leaves without a place."""
NAMED = 5
"""Columns that a sentence names."""
_CODE = re.compile(
    r"(^|[^a-z])(phone|telephone|tel|mobile|fax|zip|zip_?code|post_?code|postal|plz|code|naics|sic|fips|ids?)([^a-z]|$)"
)
_UNKNOWN = re.compile(
    r"(do|did)? ?n.?t know|unknown|unsure|not sure|no (answer|opinion)|other|n/?a|missing|refused"
    r"|not (applicable|available|stated)|(prefer|would rather) not.*|weiß nicht|keine angabe|unbekannt",
    re.IGNORECASE,
)
"""Answers that have no place in an order."""


def doubts(decisions: Sequence[Decision]) -> list[str]:
    """The sentences on the columns that are learned."""
    categories = [one.field for one in decisions if one.role == "category"]
    numbers = [one.field for one in decisions if one.role in ("measure", "skewed", "count", "level")]
    return [
        *(line for field in categories for line in _of_labels(field)),
        *_whole_labels(categories),
        *_codes(numbers),
        *_without_place(categories),
    ]


def _of_labels(field: Field) -> list[str]:
    """Sentences on the labels of one column."""
    lines = []
    if not field.numeric and len(field.values or ()) > 2:
        labels, sized = labels_in_order(field)
        if sized and labels != sorted(labels):
            lines.append(f"the labels of '{field.name}' have the order {', '.join(labels)}")
    if alike := _alike(field.values or ()):
        lines.append(f"'{field.name}' has labels that differ by case alone: {', '.join(alike)}")
    if example := _number_and_more(field):
        lines.append(
            f"most of the {len(field.values or ())} labels of '{field.name}' are numbers with text beside "
            f"them, such as '{example}'; keep the numbers alone to learn a measure"
        )
    return lines


def _alike(labels: Iterable[str]) -> list[str]:
    """Labels that differ by case alone."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(label.casefold(), []).append(label)
    return sorted(label for group in groups.values() if len(group) > 1 for label in group)


def _number_and_more(field: Field) -> str | None:
    """A label that is a number with text beside it, where most of many labels are numbers.

    None where the labels have an order of size, such as ranges, or where the reader of the file names their
    units.
    """
    labels = field.values or {}
    if field.numeric or len(labels) <= MANY_NUMBERS or labels_in_order(field)[1]:
        return None
    if any(f"'{field.name}' has numbers with the units" in line for line in field.file.report):
        return None
    return holds_number_and_more(labels)


def _whole_labels(fields: Sequence[Field]) -> list[str]:
    """A sentence on categories of many whole numbers."""
    return _about(
        [one for one in fields if one.numeric and len(one.values or ()) >= MANY_WHOLE],
        f"{MANY_WHOLE} or more whole numbers are learned as labels, and others are refused later; "
        'if they count something, set kind = "counts" and columns',
    )


def _codes(fields: Sequence[Field]) -> list[str]:
    """A sentence on whole numbers that their names call codes."""
    return _about(
        [one for one in fields if one.whole and _CODE.search(one.name.lower())],
        "codes by the name, learned as measures by their size; leave them out, or write them as text to "
        "learn labels",
    )


def _about(fields: Sequence[Field], sentence: str) -> list[str]:
    """A sentence behind the names of columns; none without columns."""
    return [f"{_named([one.name for one in fields])}: {sentence}"] if fields else []


def _without_place(fields: Sequence[Field]) -> list[str]:
    """Sentences on labels in an order but for one, by that order."""
    columns: Mapping[tuple[str, str], list[str]] = defaultdict(list)
    for field in fields:
        if not labels_in_order(field)[1] and (odd := _odd(field.values or {})):
            rest = [label for label in field.values or {} if label != odd]
            columns[odd, ", ".join(in_order(rest)[0])].append(field.name)
    return [
        f"{_named(names)}: '{odd}' has no place in the order of the other labels; if it means missing, name "
        f"it in [data] missing, else write labels in their order: {order}"
        for (odd, order), names in columns.items()
    ]


def _odd(labels: Collection[str]) -> str | None:
    """The answer without a place in the order of the other labels."""
    if len(labels) <= FEWEST_ORDERED:
        return None
    unknown = [label for label in labels if _UNKNOWN.fullmatch(label.strip())]
    return next((odd for odd in unknown if in_order([one for one in labels if one != odd])[1]), None)


def _named(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
