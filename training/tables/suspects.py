"""Numbers that may stand for a missing value, and numbers so far from all others that they may be typos.

They stay as they are; the report names them, and kinds and likelihoods are decided without them.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models_store.arrays import Array
from training.tables.ends import End

if TYPE_CHECKING:
    from training.tables.survey import Field

_REPEATED = [digit * times for digit in "789" for times in range(2, 7)]
CODES = frozenset(
    float(sign + code)
    for sign in ("", "-")
    for code in [
        *_REPEATED,
        *(f"{one[:point]}.{one[point:]}" for one in _REPEATED for point in (-1, -2) if one[:point]),
    ]
) | {-1.0, -7.0, -8.0, -9.0}
"""Numbers that often stand for a missing value: 99, -999, 99.9, ..."""
LABEL_CODES = frozenset({7.0, 8.0, 9.0})
"""The same among labels, where they follow a gap."""
FEWEST_CODES = 3
"""Cells from which on a number is taken for a code, ..."""
FAR = 0.5
"""... if it lies further from all other numbers than this share of their range."""
FEW_NUMBERS = 10
"""Columns with at most so many different numbers hold labels."""
CLEAR_GAP, GAP, PEAK = 1 / 3, 0.1, 2.0
"""Share of the median above which all others lie where 0 may stand for a missing value; the second one, if
0 is so many times as frequent as the numbers up to twice the lowest of them."""
FEWEST_STEPS = 5
"""Times that the gap between 0 and the others is the smallest step between two of the lowest of these."""
FEWEST_CELLS = 20
"""Numbers from which on their quartiles tell which others are extreme."""
EXTREME, EXTREME_LOG = 8.0, 6.0
"""Interquartile ranges between an extreme number and the median, and the same of logarithms."""
MOST_EXTREMES = 0.05
"""Share of cells above which numbers are not extreme but a group of their own."""
MOST_NAMED = 3
"""Columns or numbers that a sentence names."""


@dataclass(frozen=True)
class Extreme:
    """A number far from all others of its column.

    Arguments:
        end: The number.
        median: Median of the column.
        distance: Interquartile ranges between it and the median.
    """

    end: End
    median: float
    distance: float


@dataclass(frozen=True)
class Suspects:
    """Suspected numbers of one column.

    Arguments:
        codes: Cells by the number that may stand for a missing value.
        extremes: Numbers that may be typos.
    """

    codes: Mapping[float, int] = field(default_factory=dict)
    extremes: Sequence[Extreme] = ()

    @property
    def values(self) -> list[float]:
        """All of these numbers."""
        return [*self.codes, *(one.end.value for one in self.extremes)]


def find_suspects(sample: Array, ends: tuple[Sequence[End], Sequence[End]], present: int) -> Suspects:
    """The suspected numbers of one column.

    Arguments:
        sample: Numbers of the column, NaN where missing.
        ends: Its lowest different numbers, ascending, and its highest, descending.
        present: Number of its cells that are not missing.
    """
    low, high = ([one for one in some if not _is_code(one)] for some in ends)
    codes = {one.value: one.times for some in ends for one in some if _is_code(one)}
    if not low or not high:
        return Suspects()
    body = np.sort(without(sample, codes))
    body = body[: np.isfinite(body).sum()]
    few = len({one.value for some in ends for one in some}) <= FEW_NUMBERS
    if few:
        labels = _label_codes({one.value: one.times for some in ends for one in some})
        high = [one for one in high if one.value not in labels]
        return Suspects(labels | _apart(codes, low[0].value, high[0].value))
    zeros = _missing_zeros(low, body, present)
    low, body = low[len(zeros) :], body[body != 0] if zeros else body
    extremes = [*_extremes(low, body, present), *_extremes(high, body, present)]
    outside = {one.end.value for one in extremes}
    lowest, highest = (next(one.value for one in some if one.value not in outside) for some in (low, high))
    return Suspects(zeros | _apart(codes, lowest, highest), extremes)


def without(numbers: Array, values: Iterable[float]) -> Array:
    """Numbers, NaN in the place of some values."""
    for value in values:
        numbers = np.where(numbers == value, np.nan, numbers)
    return numbers


def _is_code(end: End) -> bool:
    return end.value in CODES and end.times >= FEWEST_CODES


def _apart(codes: Mapping[float, int], lowest: float, highest: float) -> dict[float, int]:
    """The codes that lie outside the other numbers, from ``lowest`` to ``highest``."""
    return {code: times for code, times in codes.items() if _is_apart(code, lowest, highest)}


def _is_apart(code: float, lowest: float, highest: float) -> bool:
    far = FAR * (highest - lowest)
    if not lowest < highest:
        return False
    if -10 < code < 0:
        far = max(far, 2.0) if highest - lowest < 10 else 0.0
        return lowest >= 0 and code < lowest - far
    return code < min(lowest - far, 0) or code > highest + far


def _label_codes(counts: Mapping[float, int]) -> dict[float, int]:
    """7, 8 and 9 behind consecutive labels from 0 or 1, such as 1 to 4 and then 9.

    Behind a gap that is shorter than the range of the labels there must be two of them: one alone may be the
    last of some counts.
    """
    codes = {
        value: times for value, times in counts.items() if value in LABEL_CODES and times >= FEWEST_CODES
    }
    while codes:
        labels = sorted(set(counts) - set(codes) - CODES)
        if len(labels) > 1 and labels == [labels[0] + at for at in range(len(labels))]:
            gap = min(codes) - labels[-1]
            clear = len(codes) > 1 or gap >= labels[-1] - labels[0]
            return codes if labels[0] in (0, 1) and gap > 2 and clear else {}
        codes.pop(min(codes))
    return {}


def _missing_zeros(low: Sequence[End], body: Array, present: int) -> dict[float, int]:
    """Zeros that lie apart from all others, which are above 0; nothing where there are none."""
    others = [one.value for one in low[1:]]
    zeros = low[0].times
    if low[0].value or zeros < FEWEST_CODES or 2 * zeros > present or len(others) < 2:
        return {}
    above = body[body > 0]
    gap = others[0] / np.median(above)
    is_peak = zeros > PEAK * (above <= 2 * others[0]).mean() * (present - zeros)
    is_apart = others[0] >= FEWEST_STEPS * np.diff(others).min()
    return {0.0: zeros} if is_apart and (gap >= CLEAR_GAP or (gap >= GAP and is_peak)) else {}


class _Middle(NamedTuple):
    """Median of some numbers, and the range between their quartiles."""

    median: float
    width: float

    def has_far(self, value: float, inner: float, ranges: float) -> bool:
        """Whether a number is so many ranges from the median, at least half of it a gap before ``inner``."""
        distance = abs(value - self.median)
        return distance >= ranges * self.width and 2 * abs(value - inner) >= distance


def _middle(ordered: Array) -> _Middle:
    first, median, third = (float(ordered[at * (len(ordered) - 1) // 4]) for at in (1, 2, 3))
    return _Middle(median, third - first)


def _extremes(ends: Sequence[End], body: Array, present: int) -> list[Extreme]:
    """Numbers at one end that lie far from the median, and far from the next number."""
    if len(body) < FEWEST_CELLS:
        return []
    middle = _middle(body)
    pairs = [(outer.value, inner.value) for outer, inner in pairwise(ends)]
    apart = [
        at
        for at, (value, inner) in enumerate(pairs, 1)
        if middle.width and middle.has_far(value, inner, EXTREME) and _has_far_logarithm(value, inner, body)
    ]
    group = ends[: max(apart, default=0)]
    if sum(one.times for one in group) > max(1, MOST_EXTREMES * present):
        return []
    return [Extreme(one, middle.median, abs(one.value - middle.median) / middle.width) for one in group]


def _has_far_logarithm(value: float, inner: float, body: Array) -> bool:
    """Whether the logarithm of a number is extreme, too, among those of its sign; true if these are few."""
    same = np.log(np.sort(np.abs(body[np.sign(body) == np.sign(value)]))) if value else body[:0]
    if len(same) < FEWEST_CELLS or np.sign(inner) != np.sign(value):
        return True
    return _middle(same).has_far(math.log(abs(value)), math.log(abs(inner)), EXTREME_LOG)


# --- sentences -------------------------------------------------------------


def suspect_lines(fields: Iterable[Field]) -> Iterator[str]:
    """Sentences on the suspected numbers of all fields: a line for each code and each column of extremes."""
    by_code: dict[float, list[Field]] = {}
    for one in fields:
        for code in one.suspects.codes:
            by_code.setdefault(code, []).append(one)
        if one.suspects.extremes:
            yield _extremes_line(one)
    for code, places in by_code.items():
        yield _code_line(code, places)


def _code_line(code: float, places: Sequence[Field]) -> str:
    named = ", ".join(f"'{one.name}' ({one.suspects.codes[code]})" for one in places[:MOST_NAMED])
    more = f" and {len(places) - MOST_NAMED} more columns" if len(places) > MOST_NAMED else ""
    options = " ".join(_option(one.name, code) for one in places[:MOST_NAMED]) + (" …" if more else "")
    return (
        f"{code:.10g} lies apart from the other numbers of {named}{more}; if it means missing, run init with "
        f"{options}"
    )


def _extremes_line(column: Field) -> str:
    extremes = column.suspects.extremes
    shown = ", ".join(_place(one.end) for one in extremes[:MOST_NAMED])
    more = f" and {len(extremes) - MOST_NAMED} more numbers" if len(extremes) > MOST_NAMED else ""
    far, median = min(one.distance for one in extremes), extremes[0].median
    option = _option(column.name, extremes[0].end.value)
    return (
        f"'{column.name}': {shown}{more} (counted from 0) may be a typo, {far:.3g} interquartile ranges from "
        f"the median {median:.4g}: correct it, or use {option}"
    )


def _place(end: End) -> str:
    return f"{end.value:.10g} in {f'{end.times} cells from ' if end.times > 1 else ''}row {end.row}"


def _option(name: str, value: float) -> str:
    return f"--missing {shlex.quote(f'{name}={value:.10g}')}"
