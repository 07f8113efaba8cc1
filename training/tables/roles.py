"""Roles of columns by their values: category, count, measure, paths of files, or left out with a reason."""

from __future__ import annotations

import mimetypes
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from models_store.kinds import KINDS
from models_store.tables.affixes import split_affixes
from models_store.tables.cells import number
from models_store.tables.names import unit_of
from training.tables.media import FILES
from training.tables.scales import in_order
from training.tables.survey import Field
from training.tables.words import first_word

Role = Literal["array", "files", "category", "count", "measure", "skewed", "level", "left out"]
"""``skewed``: measures above 0 with a long tail. ``level``: one of many columns with the same few whole
numbers."""

FEW_NUMBERS = 10
"""Whole numbers with at most so many different values are a category."""
MANY_COUNTED, RARE = 8, 0.2
"""Different whole numbers from which on they may be counts, and the largest share of their upper half."""
MOST_EXACT = 2.0**53
"""Whole numbers from here on may be equal as floats."""
MOST_SEVERAL = 12
"""Labels up to which several numbers in each are names of groups."""
FEWEST_DIGITS = 7
"""Digits of whole numbers that identify the rows where all differ and have as many."""
FEWEST_KEYS = 10
"""Rows from which on values that all differ are taken for keys."""
MANY_ALIKE = 20
"""Columns of one file with the same few whole numbers from which on they are one view."""
SKEWED = 1.5
"""Skewness of a long tail, where that of the logarithms is at most half of it."""
FEWEST_COUNTS = 5
"""Columns of counts of one file that decide on the whole numbers beside them."""

_KEY = re.compile(
    r"(^|[^a-z])(id|ids|key|code|nr|no|number|index|idx|uuid|guid|barcode|mrn)$|^(id|key)[^a-z]"
)
_COUNT = re.compile(r"(^|[^a-z])(n|num|count|counts|number of|anzahl)([^a-z]|$)")
_LABEL = re.compile(r"class|label|type|code|categor|cluster|group|target|species|status|digit|(^|[^a-z])id")
"""Names of labels."""
_WEIGHT = re.compile(
    r"wt(survey|mec|int|ph|saf|drd|1|2)\w*|fnlwgt|p_?weights?|(rep|fin|final|pers|person)_?wt\w*|_?llcpwt\w*|_?strwt"
    r"|\w*(survey|sampl\w*|design|final|person|household|replicate|probability|expansion|inverse)"
    r"[_ .]?(wt|wgt|weight)s?"
    r"|(wt|wgt|weight)[_ .]?(survey|sampling|design|final|person|household)"
)
_STRATUM = re.compile(r"sdmv(stra|psu)|_?strat(a|um)s?|_?psu|v?stratum|cluster[_ .]?id|_?ststr")
_DATE = re.compile(
    r"P(?=\w)(\d+[YMWD])*(T(\d+(\.\d+)?[HMS])+)?|(\d+ ?(d|h|hrs?|m|mins?|s|secs?|days?)\.? ?){2,4}|"
    r"\d{1,2}[. -]*[^\W\d_]{3,10}\.?,?[ -]\d{2,4}|[^\W\d_]{3,10}\.? \d{1,2},? \d{4}|"
    r"\d{4}年\d{1,2}月\d{1,2}日|"
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( .*)?|\d{1,2}:\d{2}(:\d{2})?"
)
CONVERTED = {
    "image": ".png or .jpg",
    "audio": ".wav or .flac",
    "video": ".gif",
    "text": "columns of the table",
}
"""Formats that are read, by the first part of a media type."""
_AFFIXED = re.compile(
    r"[$€£¥]\s?[+-]?\d[\d.,']*|[+-]?\d[\d.,']*\s?([$€£¥]|[^\W\d_]{1,5}[/²³\w]{0,4})|\(\d[\d.,']*\)"
    r"|'[+-]?\d[\d.,]*|=\"[+-]?\d[\d.,]*\""
)
"""Numbers with a currency, a unit or brackets."""
_NEGATIVE = re.compile(r"\(\s?[$€£¥]?\s?[\d.,']+\s?[$€£¥%]?\s?\)|[$€£¥]?\s?[\d.,']+-")
"""Numbers below 0 as accountants write them."""
_SEVERAL = re.compile(
    r"(?!0x)[+-]?\d[\d.,]*%?\s*((/|±|\+/-|–|-|x|×|;)\s*[+-]?\d[\d.,]*|[(\[]\s*[+-]?\d[\d.,%\s;–-]*[)\]])"
)
"""Several numbers in one cell, such as a blood pressure."""
_MARKED = re.compile(
    r"(~|≈|<|>|≤|≥|ca?\.?|about|approx\.?)\s*[+-]?\d[\d.,]*|[+-]?\d[\d.,]*\s*([*†‡?+!]+|'(\d+\")?)"
)
"""A number that a sign or word marks, such as ``~50``, or feet and inches."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_FILE_NAME = re.compile(r".*\.[^\W\d_]\w{1,4}")
_SUFFIX = re.compile(r"\.[a-z0-9]{2,5}")


@dataclass(frozen=True)
class Decision:
    """Role of a field.

    Arguments:
        field: The field.
        role: Its role.
        reason: Reason why it is left out.
    """

    field: Field
    role: Role
    reason: str = ""


def decide(fields: Sequence[Field], keys: Mapping[Path, str]) -> list[Decision]:
    """The role of each field, in their order.

    Arguments:
        fields: Fields of all files.
        keys: By file, the header of the column that joins it to the others.
    """
    by_file: dict[Path, list[Decision]] = defaultdict(list)
    for field in fields:
        by_file[field.file.path].append(_alone(field, keys.get(field.file.path)))
    return [decision for group in by_file.values() for decision in _among_neighbours(group)]


def kinds_of(field: Field) -> list[str]:
    """The kinds that have files such as a column of text names."""
    suffix = Path(field.example or "").suffix.lower()
    return (
        []
        if field.numeric or _ADDRESS.match(field.example or "")
        else [name for name in FILES if suffix in KINDS[name].suffixes]
    )


def _alone(field: Field, key: str | None) -> Decision:
    """The role of a field by its own values."""
    if field.name == key:
        return Decision(field, "left out", "the key that joins the files")
    if field.shape:
        return Decision(field, "array")
    reason = _useless(field) or (_identifies(field) or _designed(field) if not kinds_of(field) else None)
    if reason:
        return Decision(field, "left out", reason)
    if kinds_of(field):
        return Decision(field, "files")
    if not field.numeric or (_is_few(field) and not _falls_off(field)):
        return Decision(field, "category")
    return Decision(field, "count" if _is_count(field) or _falls_off(field) else "measure")


def _useless(field: Field) -> str | None:
    if not field.present:
        return "always empty"
    if field.numeric and field.low == field.high:
        exact = abs(field.low) < MOST_EXACT
        return f"always {field.low:g}" if exact else "its numbers of over 15 digits are equal as floats"
    if field.values is not None and len(field.values) == 1:
        word = f"always {next(iter(field.values))!r}"
        return word if field.present == field.rows else f"{word} or empty; write a word for empty to learn it"
    return _unread(field) if not field.numeric and not kinds_of(field) else None


def _unread(field: Field) -> str | None:
    """Reason why text is neither labels nor files that can be read."""
    example = field.example or ""
    suffix = Path(example).suffix.lower()
    if _SUFFIX.fullmatch(suffix) and (field.file.path.parent / example).is_file():
        return f"names files of the format {suffix}, which is not read; convert them to {remedy(example)}"
    if _ADDRESS.match(example) and any(suffix in KINDS[name].suffixes for name in FILES):
        return f"names files on the web, such as '{example}'; download them, and name those files"
    many = field.values is None or (len(field.values) > FEW_NUMBERS and 2 * len(field.values) > field.present)
    if words := _words_among_measures(field.texts):
        if negative := next(filter(_NEGATIVE.fullmatch, words), None):
            return f"numbers such as '{negative}'; write a minus before those below 0"
        return f"numbers and text such as '{words[0]}'; name the text in [data] missing to learn the numbers"
    several = many or _are_several(field.values or {})
    if field.present >= FEWEST_KEYS and several and _SEVERAL.fullmatch(example):
        return f"holds several numbers in a cell, such as '{example}'; make a column of each"
    if field.present >= FEWEST_KEYS and many and _has_affixes(example):
        return f"holds numbers with text around them, such as '{example}'; keep the numbers alone"
    if field.differ and field.present >= FEWEST_KEYS and not _DATE.fullmatch(example):
        return f"all its {field.present} values differ: it identifies the rows"
    if _DATE.fullmatch(example) and (field.values is None or len(field.values) > FEW_NUMBERS):
        return "holds dates or times; make them numbers, such as days since a first one"
    if many:
        return "text with too many different values for a category"
    return None


def _are_several(labels: Collection[str]) -> bool:
    """Whether most of many labels hold several numbers; ranges such as ``18-24`` in an order do not."""
    most = 2 * sum(bool(_SEVERAL.fullmatch(label)) for label in labels) > len(labels)
    return most and len(labels) > MOST_SEVERAL and not in_order(labels)[1]


def holds_number_and_more(labels: Collection[str]) -> str | None:
    """A label that is a number with text beside it, where most labels are such or numbers; else None."""
    beside = [label for label in labels if number(label) is None and _is_number_and_more(label)]
    plain = sum(number(label) is not None for label in labels)
    return beside[0] if beside and 2 * (len(beside) + plain) > len(labels) else None


def _is_number_and_more(text: str) -> bool:
    return bool(_SEVERAL.fullmatch(text) or _MARKED.fullmatch(text)) or _has_affixes(text)


def _has_affixes(text: str) -> bool:
    """Whether a number stands in a text that is no name of a file."""
    return not _FILE_NAME.fullmatch(text) and bool(_AFFIXED.fullmatch(text) or split_affixes(text))


def _words_among_measures(values: Iterable[str]) -> list[str]:
    """Texts among values that mostly are many different numbers with decimals; none among codes or labels.

    Numbers below 0 that accountants wrote are texts, and such among whole numbers too.
    """
    read = {value: number(parts.number if (parts := split_affixes(value)) else value) for value in values}
    numbers = [one for one in read.values() if one is not None]
    words = [value for value, one in read.items() if one is None]
    negative = sum(map(bool, map(_NEGATIVE.fullmatch, words)))
    measured = negative or any(not one.is_integer() for one in numbers)
    many = len(numbers) + negative > FEW_NUMBERS and 2 * (len(numbers) + negative) > len(read)
    return words if numbers and measured and many else []


def remedy(example: str) -> str:
    """Formats to which a file can be converted, by its name."""
    content = (mimetypes.guess_type(example)[0] or "").partition("/")[0]
    return CONVERTED.get(content, "pictures (.png), sounds (.wav) or arrays (.npy)")


def _identifies(field: Field) -> str | None:
    """Reason why whole numbers are taken for keys of the rows."""
    if field.numeric and field.low >= MOST_EXACT and _KEY.search(field.name.lower()):
        return "looks like an identifier"
    if not field.numeric or not field.whole or field.present < FEWEST_KEYS:
        return None
    if field.steps:
        return "numbers the rows"
    if field.values is None and _KEY.search(field.name.lower()):
        return "looks like an identifier"
    if not field.differ:
        return None
    if field.rises:
        return "its whole numbers all differ and rise from row to row: it identifies the rows"
    if field.high - field.low + 1 == field.present and field.low in (0, 1):
        return f"holds each whole number from {field.low:g} to {field.high:g} once: it identifies the rows"
    if digits := _digits(field):
        return f"its whole numbers of {digits} digits all differ: it identifies the rows"
    return None


def _digits(field: Field) -> int | None:
    """The number of digits that all numbers have; None for few digits, and for rounded numbers."""
    digits = len(f"{field.low:.0f}")
    if field.low <= 0 or digits < FEWEST_DIGITS or len(f"{field.high:.0f}") != digits:
        return None
    sample = field.sample[~np.isnan(field.sample)].astype(np.int64)
    return digits if np.gcd.reduce(sample) == 1 else None


def _designed(field: Field) -> str | None:
    """Reason why a column belongs to the design of a survey."""
    name = field.name.lower().strip()
    if field.numeric and _WEIGHT.fullmatch(name):
        return "its name says that it is a weight of a survey, not a measure"
    if _STRATUM.fullmatch(name):
        return "its name says that it is a stratum or cluster of a survey, not a measure"
    return None


def _is_few(field: Field) -> bool:
    """Whether a column has few different whole numbers, beside those that may mean missing."""
    return field.whole and field.values is not None and len(_unsuspected(field)) <= FEW_NUMBERS


def _unsuspected(field: Field) -> list[str]:
    """The different whole numbers of a column but the suspected ones."""
    suspected = {f"{value:.0f}" for value in field.suspects.values}
    return [value for value in field.values or () if value not in suspected]


def _is_count(field: Field) -> bool:
    """Whole numbers from 0 that are called counts or are often 0, and have no unit."""
    if not _may_be_count(field):
        return False
    return bool(_COUNT.search(field.name.lower())) or field.zeros > 0.2 * field.present


def _may_be_count(field: Field) -> bool:
    return field.numeric and field.whole and field.low >= 0 and not unit_of(field.name)[1]


def _spreads_like_counts(field: Field) -> bool:
    """Whole numbers that begin near 0 and have a long tail upwards."""
    high = np.nanmax(field.sample, initial=0)
    return _may_be_count(field) and field.low <= 0.1 * high and field.skew > 0.5


def _falls_off(field: Field) -> bool:
    """Whole numbers from 0, almost as many as make no category, of which the higher ones are rare."""
    values = {float(value): count for value, count in (field.values or {}).items()}
    if len(values) < MANY_COUNTED or field.low or not _spreads_like_counts(field):
        return False
    high = sum(count for value, count in values.items() if 2 * value > field.high)
    return high <= RARE * field.present and not _LABEL.search(field.name.lower())


# --- neighbours decide -----------------------------------------------------


def _among_neighbours(decisions: Sequence[Decision]) -> list[Decision]:
    """The roles of the columns of one file, once each has been looked at alone."""
    levels = _levels(decisions)
    if levels:
        return [_with_role(one, "level") if one.field.name in levels else one for one in decisions]
    counts = _counts(decisions)
    decisions = [_with_role(one, "count") if one.field.name in counts else one for one in decisions]
    skewed = _skewed([one.field for one in decisions if one.role == "measure"])
    return [
        _with_role(one, "skewed") if one.role == "measure" and one.field.name in skewed else one
        for one in decisions
    ]


def _skewed(measures: Sequence[Field]) -> set[str]:
    """Measures above 0 with a long tail; of many measures all or none, as most of them are."""
    above = [field for field in measures if field.low > 0]
    tailed = [field for field in above if field.skew > SKEWED and 2 * abs(field.log_skew) < field.skew]
    if len(measures) >= MANY_ALIKE:
        tailed = above if 2 * len(tailed) > len(measures) and len(above) == len(measures) else []
    return {field.name for field in tailed}


def _with_role(decision: Decision, role: Role) -> Decision:
    return Decision(decision.field, role)


def _levels(decisions: Sequence[Decision]) -> set[str]:
    """Columns with the same few whole numbers, if they are many, and those with numbers between these."""
    numbers = [
        one.field for one in decisions if one.role in ("category", "count", "measure") and one.field.numeric
    ]
    alike: dict[tuple[float, float], list[Field]] = defaultdict(list)
    for field in numbers:
        if _is_few(field):
            alike[field.low, field.high].append(field)
    (low, high), group = max(alike.items(), key=lambda item: len(item[1]), default=((0.0, 0.0), []))
    if len(group) < MANY_ALIKE or _are_counts(numbers):
        return set()
    within = [field for field in numbers if low <= field.low and field.high <= high]
    return {field.name for field in (within if 2 * len(within) > len(numbers) else group)}


def _counts(decisions: Sequence[Decision]) -> set[str]:
    """Whole numbers beside columns that are counts: of the same first word, or of one file of counts."""
    numbers = [
        one.field for one in decisions if one.role in ("category", "count", "measure") and one.field.numeric
    ]
    by_word: dict[str, list[Field]] = defaultdict(list)
    for field in numbers:
        by_word[first_word(field.label) or ""].append(field)
    groups: Iterable[Sequence[Field]] = [numbers, *(group for word, group in by_word.items() if word)]
    return {field.name for group in groups if _are_counts(group) for field in group}


def _are_counts(fields: Sequence[Field]) -> bool:
    """Whether all of some columns may be counts, several are by their spread, and these are the most."""
    if len(fields) < FEWEST_COUNTS or not all(_may_be_count(field) for field in fields):
        return False
    clear = [f for f in fields if not _is_few(f) and (_is_count(f) or _spreads_like_counts(f))]
    few = [f for f in fields if _is_few(f) and f.low == 0]
    return len(clear) >= 2 and 2 * (len(clear) + len(few)) > len(fields) and 4 * len(clear) > len(fields)
