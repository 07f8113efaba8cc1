"""Decides, in one pass over a table, which columns hold numbers and which cells are missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models_store.errors import listed
from models_store.tables.cells import CENSORED, EMPTY, PERHAPS, decimal_vote, number, thousands_mark
from models_store.tables.dialect import ColumnDialect
from models_store.tables.names import unique_names
from models_store.tables.parquet import is_unreadable
from models_store.tables.sources import Cell, Source

MOST_WORDS = 5
"""Different words that a column of numbers may hold, besides marks for missing values."""
FEW_NUMBERS = 10
"""With fewer different numbers, words beside them are labels, such as 0, 1, 2, 3+."""
SENTINELS = frozenset(
    {sign + digit * times for sign in ("-", "") for digit in "789" for times in range(2, 7)}
    | {"-1", "-7", "-8", "-9"}
)
"""Numbers that often stand for a missing value."""
_CODES = np.array(sorted(map(float, SENTINELS)))
FEWEST_CODES = 3
"""Cells from which on a number is taken for a code, ..."""
FAR = 0.5
"""... if it lies further from all other numbers than this share of their range."""
REMEMBERED = 200
MOST_NAMED = 3
"""Columns that a sentence names."""
_NO_NUMBERS = EMPTY | PERHAPS | {None}
_GROUPING = frozenset(".,' \u00a0\u202f")
_PLAIN = re.compile(r"[+-]?\d{1,300}(?:\.\d+)?(?:\n[+-]?\d{1,300}(?:\.\d+)?)*", re.ASCII)
_EITHER = re.compile(r"^[+-]?(?:\d+|[1-9]\d{0,2}(?:\.\d{3})+)$", re.ASCII | re.MULTILINE)
"""Numbers under either decimal mark: whole ones, and groups of three."""


@dataclass
class ColumnSurvey:
    """Counts of one column.

    Arguments:
        rows: Cells seen.
        empty: Of these, empty or with a mark that never is a value.
        marked: Of these, with a mark that the user names.
        figures: Numbers under either decimal mark.
        points: Numbers with a decimal point for mark.
        commas: Numbers with a decimal comma for mark.
        votes: Cells by the decimal mark that they can only have.
        words: Cells that are no number under either mark, by text; up to some hundred.
        values: Texts of numbers, by text; up to some hundred.
        widths: Lengths of lists.
        booleans: Values that a format with types stores as truth values.
        codes: Numbers that may stand for a missing value.
        lowest: Lowest of the other numbers.
        highest: Highest of the other numbers.
    """

    rows: int = 0
    empty: int = 0
    blank: int = 0
    marked: int = 0
    figures: int = 0
    points: int = 0
    commas: int = 0
    percent: int = 0
    votes: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    widths: set[int] = field(default_factory=set)
    booleans: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    lowest: float = float("inf")
    highest: float = float("-inf")

    def see(self, cells: Sequence[Cell], marks: Collection[str]) -> None:
        """Counts some consecutive cells."""
        self.rows += len(cells)
        if not marks and self._see_numbers_with_gaps(cells):
            return
        counted: Counter[str] = Counter()
        for cell in cells:
            if isinstance(cell, list):
                self.widths.add(len(cell))
            else:
                counted["" if cell is None else cell.strip()] += 1
        for text, times in counted.items():
            self._see_text(text, times, marks)

    def _see_numbers_with_gaps(self, cells: Sequence[Cell]) -> bool:
        """Counts cells that are finite numbers with points or mean no value, quickly; False for others."""
        if not set(map(type, cells)) <= {str, type(None)}:
            return False
        values = [cell for cell in cells if cell not in _NO_NUMBERS]
        if not self._see_plain_numbers(values):
            return False
        if len(values) < len(cells):
            gaps = Counter(cell or "" for cell in cells if cell in _NO_NUMBERS)
            for text, times in gaps.items():
                self._see_text(str(text), times, ())
        return True

    def _see_plain_numbers(self, cells: Sequence[Cell]) -> bool:
        """Counts cells that all are finite numbers with points, quickly; False where they are not."""
        if set(map(type, cells)) != {str}:
            return False
        joined = "\n".join(cells)  # type: ignore[arg-type]
        if not _PLAIN.fullmatch(joined):
            return False
        values = np.array(cells, dtype=float)
        either = len(_EITHER.findall(joined))
        self.figures, self.points = self.figures + len(cells), self.points + len(cells)
        self.commas += either
        self.votes["."] += len(cells) - either
        is_code = _CODES.take(_CODES.searchsorted(values), mode="clip") == values
        if not is_code.all():
            self._see_range(values[~is_code].min(), values[~is_code].max())
        if is_code.any():
            self.codes.update(f"{value:g}" for value in values[is_code].tolist())
        if len(self.values) < REMEMBERED:
            self.values.update(cells)  # type: ignore[arg-type]
        return True

    def _see_range(self, low: float, high: float) -> None:
        """Takes account of numbers that are no codes."""
        self.lowest, self.highest = min(self.lowest, low), max(self.highest, high)

    def _see_text(self, text: str, times: int, marks: Collection[str]) -> None:
        if text in marks:
            self.marked += times
        elif text in EMPTY:
            self.empty += times
            self.blank += times * (not text)
            if text:
                self.odd[text] += times
        else:
            self._see_value(text, times)

    def _see_value(self, text: str, times: int) -> None:
        point, comma = number(text, "."), number(text, ",")
        self.points += times * (point is not None)
        self.commas += times * (comma is not None)
        if point is None and comma is None:
            is_kept = text in self.words or len(self.words) < REMEMBERED
            self.words[text if is_kept else "…"] += times
            return
        self.figures += times
        self.percent += times * text.endswith("%")
        if vote := decimal_vote(text):
            self.votes[vote] += times
        if text in self.values or len(self.values) < REMEMBERED:
            self.values[text] += times
        value = point if point is not None else comma or 0.0
        if f"{value:g}" in SENTINELS:
            self.codes[f"{value:g}"] += times
        else:
            self._see_range(value, value)

    def suspects(self) -> dict[str, int]:
        """Codes that occur several times, far outside the other numbers or at their ends, by count."""
        far = FAR * (self.highest - self.lowest)
        return {
            code: times
            for code, times in self.codes.items()
            if times >= FEWEST_CODES and self._is_apart(float(code), far)
        }

    def _is_apart(self, code: float, far: float) -> bool:
        if not self.lowest < self.highest:
            return False
        if -10 < code < 0:
            far = max(far, 2.0) if self.highest - self.lowest < 10 else 0.0
            return self.lowest >= 0 and code < self.lowest - far
        return code < min(self.lowest - far, 0) or code > self.highest + far

    @property
    def stored(self) -> str | None:
        """``boolean`` where all values are truth values."""
        return "boolean" if self.booleans and self.booleans == self.rows - self.empty - self.marked else None

    def decimal(self, usual: str) -> str:
        """The mark of this column, else of the file."""
        if self.votes["."] != self.votes[","]:
            return "," if self.votes[","] > self.votes["."] else "."
        return usual

    def is_numeric(self, decimal: str) -> bool:
        """Whether the cells that are not missing are numbers, but for few words."""
        numbers = self.commas if decimal == "," else self.points
        if not numbers:
            return False
        plain = {word: n for word, n in self.words.items() if word not in PERHAPS}
        if not plain:
            return numbers >= sum(self.words.values()) or len(self.values) > FEW_NUMBERS
        words = {word for word in plain if not CENSORED.fullmatch(word)}
        few = not words or (len(words) <= MOST_WORDS and len(self.values) > FEW_NUMBERS)
        return few and numbers >= 2 * sum(plain.values())


@dataclass(frozen=True)
class Findings:
    """Columns as a dialect stores them, the lines to report, and the number of rows."""

    columns: tuple[ColumnDialect, ...]
    report: tuple[str, ...]
    rows: int


def survey(
    source: Source,
    units: Sequence[str],
    missing: Sequence[str],
    by_column: Mapping[str, Sequence[str]],
    decimal: str | None = None,
) -> Findings:
    """Reads a table once.

    Arguments:
        source: The table.
        units: Units of the columns from a line below the header; empty without one.
        missing: Marks for a missing value in any column.
        by_column: Further marks, by header.
        decimal: The decimal mark of all columns; None: by their cells.
    """
    columns = [ColumnSurvey() for _ in source.headers]
    marks = [frozenset((*missing, *by_column.get(header, ()))) for header in source.headers]
    rows: list[Sequence[Any]] = []
    limit = max(1, 2**20 // max(1, len(columns)))
    total = 0
    for row in source.rows():
        rows.append(row)
        if len(rows) >= limit:
            total += _see(source, columns, rows, marks)
    total += _see(source, columns, rows, marks)
    described, report = _describe(source, units, columns, marks, decimal)
    return Findings(described, report, total)


def _describe(
    source: Source,
    units: Sequence[str],
    columns: Sequence[ColumnSurvey],
    marks: Sequence[Collection[str]],
    decimal: str | None,
) -> tuple[tuple[ColumnDialect, ...], tuple[str, ...]]:
    votes: Counter[str] = Counter()
    for column in columns:
        votes.update(column.votes)
    usual = "," if votes[","] > votes["."] else "."
    decimals = [decimal or column.decimal(usual) for column in columns]
    numeric = [column.is_numeric(mark) for column, mark in zip(columns, decimals, strict=True)]
    used = {word for column, yes in zip(columns, numeric, strict=True) if yes for word in column.words}
    described, report = [], list[str]()
    for at, (name, unit) in enumerate(unique_names(source.headers)):
        base = ColumnDialect(
            header=source.headers[at],
            name=name,
            unit=(units[at].strip() if at < len(units) else "") or unit,
            stored=source.stored[at] if source.stored else columns[at].stored,
            missing=tuple(sorted(marks[at])),
        )
        if columns[at].marked:
            report.append(f"'{base.header}': {columns[at].marked} cells hold a mark that missing names")
        if not base.header.strip():
            report.append(f"column {at + 1} is left out: it has no header")
            described.append(base.model_copy(update={"content": "unread"}))
        elif base.stored and is_unreadable(base.stored):
            kind = base.stored.partition("(")[0].lower()
            report.append(f"'{base.header}' is left out: {kind} is no number, text or list of numbers")
            described.append(base.model_copy(update={"content": "unread"}))
        elif columns[at].widths:
            described.append(_vector(base, columns[at], report))
        elif numeric[at]:
            described.append(_numeric(base, columns[at], decimals[at], report))
        else:
            described.append(_textual(base, columns[at], used, report))
    return tuple(described), (*report, *_suspected(source.headers, columns, numeric))


def _suspected(
    headers: Sequence[str], columns: Sequence[ColumnSurvey], numeric: Sequence[bool]
) -> Iterator[str]:
    """A sentence for each number that may stand for a missing value."""
    by_code: dict[str, list[str]] = {}
    for header, column, is_number in zip(headers, columns, numeric, strict=True):
        for code, times in column.suspects().items() if is_number else ():
            by_code.setdefault(code, []).append(f"'{header}' ({times})")
    for code, places in by_code.items():
        more = f" and {len(places) - MOST_NAMED} more columns" if len(places) > MOST_NAMED else ""
        yield (
            f"{code} occurs far outside the other numbers of {', '.join(places[:MOST_NAMED])}{more}; if it "
            f'means missing, set [data] missing = ["{code}"]'
        )


def _see(
    source: Source,
    columns: Sequence[ColumnSurvey],
    rows: list[Sequence[Any]],
    marks: Sequence[Collection[str]],
) -> int:
    for column, values, column_marks in zip(columns, zip(*rows, strict=True), marks, strict=bool(rows)):
        column.booleans += sum(isinstance(value, bool) for value in values) if source.typed else 0
        column.see(source.cells(values), column_marks)
    size = len(rows)
    rows.clear()
    return size


def _vector(base: ColumnDialect, seen: ColumnSurvey, report: list[str]) -> ColumnDialect:
    if len(seen.widths) == 1 and 0 not in seen.widths and not seen.words and not seen.values:
        return base.model_copy(update={"content": "vector", "width": min(seen.widths)})
    lengths = f"{min(seen.widths)} to {max(seen.widths)}"
    report.append(f"'{base.header}' is left out: its lists have {lengths} values, a vector needs one length")
    return base.model_copy(update={"content": "unread"})


def _numeric(base: ColumnDialect, seen: ColumnSurvey, decimal: str, report: list[str]) -> ColumnDialect:
    read = seen.commas if decimal == "," else seen.points
    other = [text for text in seen.values if number(text, decimal) is None] if read < seen.figures else []
    words = seen.words + seen.odd + Counter({text: seen.values[text] for text in other})
    if words:
        report.append(f"'{base.header}' is a column of numbers; taken as missing: {_counts(words)}")
    percent = seen.percent > 0 and seen.percent == seen.points + seen.commas * (not seen.points)
    return base.model_copy(
        update={
            "content": "number",
            "decimal": decimal,
            "thousands": _thousands(seen, decimal),
            "percent": percent,
            "unit": "%" if percent and base.unit is None else base.unit,
            "missing": tuple(sorted({*base.missing, *(w for w in words if w not in EMPTY and w != "…")})),
        }
    )


def _thousands(seen: ColumnSurvey, decimal: str) -> str:
    """The mark between groups of three digits, where all numbers that need one have it."""
    if not (_GROUPING - {decimal}).intersection("".join(seen.values)):
        return ""
    marks = {thousands_mark(text, decimal) for text in seen.values} - {None}
    return next(iter(marks)) or "" if len(marks) == 1 else ""


def _textual(
    base: ColumnDialect, seen: ColumnSurvey, used: Collection[str], report: list[str]
) -> ColumnDialect:
    """A word such as NA is a label, unless columns of numbers use it for missing or nothing else is there."""
    doubtful = Counter({word: n for word, n in seen.words.items() if word in PERHAPS})
    only_one = len(seen.words) == 1 and not seen.values
    absent = Counter({word: n for word, n in doubtful.items() if word in used or only_one})
    if absent or seen.odd:
        report.append(f"'{base.header}': taken as missing: {_counts(absent + seen.odd)}")
    if labels := doubtful - absent:
        report.append(
            f"'{base.header}': kept as labels: {_counts(labels)}; if they mean missing, set missing"
        )
    return base.model_copy(update={"missing": tuple(sorted({*base.missing, *absent}))})


def _counts(words: Counter[str]) -> str:
    shown = [f"'{word}' ({n})" for word, n in words.most_common(8)]
    return ", ".join(shown) + (f" and {len(words) - 8} more" if len(words) > 8 else "")


def repeated(headers: Sequence[str]) -> str | None:
    """Headers that occur more than once, in a clause; None where there are none."""
    twice = [header for header, n in Counter(headers).items() if n > 1]
    return f"the header has {listed(twice[:5])} more than once" if twice else None
