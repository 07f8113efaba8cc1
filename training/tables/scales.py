"""Order of the labels of a category: numbers, ranges, known scales of words, else the alphabet."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path

from models_store.tables.affixes import split_affixes
from models_store.tables.cells import number

SCALES = Path(__file__).with_name("scales.txt")
_NUMBER = r"\d+(?:[.,]\d+)?"
_RANGE = re.compile(
    rf"(?P<under><=?|≤|under|below|less than|up to)?\s*(?:[$€£]?\s*(?P<first>{_NUMBER}))[kKmM%]?"
    rf"(?:\s*(?:-|–|to|bis)\s*[$€£]?\s*{_NUMBER}[kKmM%]?)?\s*(?P<over>\+|or more|and over|years?)?"
    rf"|(?P<above>>=?|≥|over|above|more than)\s*[$€£]?\s*(?P<last>{_NUMBER})[kKmM%]?\s*(?:years?)?",
    re.IGNORECASE,
)
_GRADE = re.compile(
    rf"(stage|grade|class|level|phase|degree|tier|rank|grad|stufe|klasse|[a-z])[ _-]?({_NUMBER})",
    re.IGNORECASE,
)


def in_order(labels: Collection[str]) -> tuple[list[str], bool]:
    """Labels in their order, and whether it is one of size rather than of the alphabet."""
    graded = [_as_grade] if len({label[:1].casefold() for label in labels}) == 1 else []
    amounts = [_as_amount] if len({_unit(label) for label in labels}) == 1 else []
    for rank in (_as_number, *amounts, _as_range, *graded, *_scales()):
        ranks = {label: rank(label) for label in labels}
        if len(labels) > 1 and None not in ranks.values() and len(set(ranks.values())) == len(ranks):
            return sorted(labels, key=lambda label: ranks[label] or 0.0), True
    return sorted(labels), False


def _as_number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def _as_range(label: str) -> float | None:
    """The place of a range such as ``18-24``, ``<18`` or ``65+``."""
    match = _RANGE.fullmatch(label.strip())
    if match is None:
        return None
    number = float((match["first"] or match["last"]).replace(",", "."))
    return number + (0.5 if match["above"] else -0.5 if match["under"] else 0.0)


def _as_grade(label: str) -> float | None:
    """The number of a grade such as ``stage 2`` or ``T3``."""
    match = _GRADE.fullmatch(label.strip())
    return float(match[2].replace(",", ".")) if match else None


def _as_amount(label: str) -> float | None:
    """The number of an amount such as ``5 mg``."""
    parts = split_affixes(label.strip())
    return number(parts.number) if parts else None


def _unit(label: str) -> tuple[str, str] | None:
    """Currency and unit of an amount."""
    parts = split_affixes(label.strip())
    return (parts.prefix.strip(), parts.suffix.strip()) if parts else None


@cache
def _scales() -> Sequence[Callable[[str], float | None]]:
    lines = SCALES.read_text(encoding="utf-8").splitlines()
    return [_rank_in(line.split(" < ")) for line in lines if line and not line.startswith("#")]


def _rank_in(scale: Sequence[str]) -> Callable[[str], float | None]:
    ranks = {_plain(word): float(rank) for rank, words in enumerate(scale) for word in words.split("|")}
    return lambda label: ranks.get(_plain(label))


def _plain(label: str) -> str:
    return re.sub(r"[\s_\-.]+", " ", label.casefold()).strip()
