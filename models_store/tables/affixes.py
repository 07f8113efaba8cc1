"""Numbers with the same unit or currency in each cell of a column, such as ``5 kg`` and ``$1,200``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from models_store.tables.cells import number

_CODES = "USD|EUR|GBP|JPY|CHF|CNY|INR|SEK|NOK|DKK|PLN|CZK|HUF|AUD|CAD|NZD|BRL|KRW|TRY|ZAR|MXN|SGD|HKD|ILS|RUB"
_SIGNS = "$€£¥₹₽₩₺₪₫฿₴"
_CELL = re.compile(
    rf"(?P<sign>[+\-−]?)(?P<prefix>(?:[A-Z]{{0,3}}[{_SIGNS}]|Rs\.?|kr\.?|(?:{_CODES})\b)?\s?)"
    r"(?P<number>[+\-−]?(?:\d[\d.,'\u00a0\u202f ]*\d|\d|[.,]\d+)(?:[eE][+\-]?\d+)?)"
    rf"(?P<suffix>\s?(?:(?:[x×*]\s?)?10\^?[\d⁰-⁹]+/|[^\W\d_]|[{_SIGNS}°‰\"′″])\S*(?:\s[^\W\d_]\S*)?|)"
)
"""A number between a currency and a unit, either of which may be empty; ``10^9/L`` is a unit."""
_LEADING_ZERO = re.compile(r"[+\-−]?0\d")
"""Start of a code, which is no number."""
_OTHER = re.compile(r"^[+\-−]?[^\d+\-−.,]|\D$")
"""Cells without a unit begin and end with digits or signs."""
_LONGEST, _LONGEST_CELL = 20, 60
"""Characters of a unit and of a cell."""


class Affixed(NamedTuple):
    """A cell in three parts.

    Arguments:
        prefix: Text before the number, such as ``$``.
        number: The number, with its sign.
        suffix: Text behind the number with the blank before it, such as `` kg``.
    """

    prefix: str
    number: str
    suffix: str


def split_affixes(text: str) -> Affixed | None:
    """The parts of a cell that holds a number and a unit or a currency; None for any other text."""
    if len(text) > _LONGEST_CELL or _LEADING_ZERO.match(text) or not _OTHER.search(text):
        return None
    match = _CELL.fullmatch(text)
    if not match or not (match["prefix"].strip() or match["suffix"]) or len(match["suffix"]) > _LONGEST:
        return None
    text = match["sign"] + match["number"]
    if all(number(text, mark) is None for mark in ".,"):
        return None
    return Affixed(match["prefix"], text, match["suffix"])


def without_affixes(text: str, prefix: str, suffix: str) -> str:
    """The number in a cell of a column with this unit; any other text as it is."""
    parts = split_affixes(text)
    alike = parts and (parts.prefix.strip(), parts.suffix.strip()) == (prefix.strip(), suffix.strip())
    return parts.number if parts and alike else text


def with_affixes(text: str, prefix: str, suffix: str) -> str:
    """A number with the unit of its column; the sign stands before a currency."""
    sign, plain = (text[0], text[1:]) if prefix and text.startswith("-") else ("", text)
    return f"{sign}{prefix}{plain}{suffix}"


def units_of(spellings: Mapping[tuple[str, str], int]) -> Counter[tuple[str, str]]:
    """Counts of units by prefix and suffix, of which spellings may differ in blanks."""
    units: Counter[tuple[str, str]] = Counter()
    for (prefix, suffix), times in spellings.items():
        units[prefix.strip(), suffix.strip()] += times
    return units
