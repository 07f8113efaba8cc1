"""Decides, in one pass over a table, which columns hold numbers and which cells are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models_store.errors import listed
from models_store.tables.affixes import units_of
from models_store.tables.cells import EMPTY, PERHAPS, is_absent, number, thousands_mark
from models_store.tables.counts import FEW_NUMBERS, ColumnSurvey
from models_store.tables.dialect import ColumnDialect, DecimalMark
from models_store.tables.names import unique_names
from models_store.tables.parquet import is_unreadable
from models_store.tables.sources import Source

MOST_NAMED = 3
"""Columns that a sentence names."""
_GROUPING = frozenset(".,' \u00a0\u202f")


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
    delimiter: str = ",",
) -> Findings:
    """Reads a table once.

    Arguments:
        source: The table.
        units: Units of the columns from a line below the header; empty without one.
        missing: Marks for a missing value in any column.
        by_column: Further marks, by header.
        decimal: The decimal mark of all columns; None: by their cells.
        delimiter: Between two cells of text.
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
    columns = [column.of_one_unit() for column in columns]
    usual = _usual_mark(columns, delimiter)
    described, report = _describe(source, units, columns, marks, (decimal, usual))
    if decimal is None and not source.typed and delimiter not in "., ":
        report = (*report, *_ambiguous(source.headers, columns, usual))
    return Findings(described, report, total)


def _describe(
    source: Source,
    units: Sequence[str],
    columns: Sequence[ColumnSurvey],
    marks: Sequence[Collection[str]],
    decimal_marks: tuple[str | None, str],
) -> tuple[tuple[ColumnDialect, ...], tuple[str, ...]]:
    """The columns and the report; the decimal marks are that which the user states and the usual one."""
    decimal, usual = decimal_marks
    points = source.typed  # a number of a format with types has a point
    decimals = [
        decimal or ("." if points and column.votes["."] else column.decimal(usual)) for column in columns
    ]
    numeric = [column.is_numeric(mark) for column, mark in zip(columns, decimals, strict=True)]
    used = {word for column, yes in zip(columns, numeric, strict=True) if yes for word in column.words}
    used = {word.casefold() for word in used}
    described, report = [], list[str]()
    for at, (name, unit) in enumerate(unique_names(source.headers)):
        base = ColumnDialect(
            header=source.headers[at],
            name=name,
            unit=(units[at].strip(" \t[]()") if at < len(units) else "") or unit,
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
    return tuple(described), (*report, *_kept_labels(columns, described, used))


def _usual_mark(columns: Sequence[ColumnSurvey], delimiter: str) -> DecimalMark:
    """The decimal mark of a table, by the numbers that show theirs.

    Where none does, points before three digits are marks of thousands if semicolons delimit the cells, as
    programs write them where the comma is the decimal mark.
    """
    votes = sum((column.votes for column in columns), Counter[str]())
    grouped = [text for column in columns for text in column.groups_alone]
    if not votes and delimiter == ";" and grouped and all("." in text for text in grouped):
        return ","
    return "," if votes[","] > votes["."] else "."


def _ambiguous(headers: Sequence[str], columns: Sequence[ColumnSurvey], usual: DecimalMark) -> Iterator[str]:
    """Sentences on columns whose mark before three digits no number of the table explains."""
    if any(column.votes.total() for column in columns):
        return
    for header, column in zip(headers, columns, strict=True):
        for text in column.groups_alone[:1]:
            mark = "." if "." in text else ","
            other = "sets off thousands" if mark == usual else "is the decimal mark"
            yield (
                f"'{header}': {text} is read as {number(text, usual):.10g}; if '{mark}' {other}, set "
                f'decimal = "{"," if usual == "." else "."}" in [data.dialects]'
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
    if seen.percent and not percent:
        report.append(
            f"'{base.header}' has {seen.percent} numbers with a percent sign, {read - seen.percent} without "
            "one; all are read alike, 5% as 5: write one or the other"
        )
    prefix, suffix = seen.unit
    return base.model_copy(
        update={
            "content": "number",
            "decimal": decimal,
            "thousands": _thousands(seen, decimal),
            "percent": percent,
            "prefix": prefix,
            "suffix": suffix,
            "unit": "%" if percent and base.unit is None else (prefix + suffix).strip() or base.unit,
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
    """A word such as NA is a label, unless columns of numbers use it for missing or nothing else is there.

    Arguments:
        base: The column.
        seen: Counts of its cells.
        used: Words of columns of numbers in lower case.
        report: Receives sentences.
    """
    only_one = len(seen.words) == 1 and not seen.values
    sure = only_one or seen.has_codes
    absent = Counter(
        {word: n for word, n in seen.words.items() if word in PERHAPS and (word.casefold() in used or sure)}
    )
    if absent or seen.odd:
        report.append(f"'{base.header}': taken as missing: {_counts(absent + seen.odd)}")
    if seen.has_codes:
        code = next(text for text in seen.values if text.startswith("0"))
        report.append(f"'{base.header}' has numbers with leading zeros, such as {code}: read as codes, text")
    if (
        2 * sum(seen.affixes.values()) > seen.rows - seen.empty
        and seen.bare
        and len(seen.bare.values) > FEW_NUMBERS
        and (seen.figures or len(units_of(seen.affixes)) > 1)
    ):
        report.append(_several_units(base.header, seen))
    return base.model_copy(update={"missing": tuple(sorted({*base.missing, *absent}))})


def _kept_labels(
    columns: Sequence[ColumnSurvey], described: Sequence[ColumnDialect], used: Collection[str]
) -> Iterator[str]:
    """Sentences on labels that may mean missing, one for all columns with the same ones.

    Arguments:
        columns: Counts of the columns.
        described: How these are read.
        used: Words of columns of numbers in lower case.
    """
    by_words: dict[frozenset[str], list[int]] = {}
    for at, (column, dialect) in enumerate(zip(columns, described, strict=True)):
        words = [
            word for word in column.words if word in PERHAPS or word.casefold() in used or is_absent(word)
        ]
        if dialect.content == "text" and (labels := frozenset(words) - set(dialect.missing)):
            by_words.setdefault(labels, []).append(at)
    for labels, places in by_words.items():
        headers = [f"'{described[at].header}'" for at in places]
        named = ", ".join(headers[:MOST_NAMED])
        more = f" and {len(headers) - MOST_NAMED} more" if len(headers) > MOST_NAMED else ""
        total = sum((columns[at].words for at in places), Counter[str]())
        counts = _counts(Counter({word: total[word] for word in labels}))
        yield (
            f"{named}{more}: kept as labels: {counts}; if they mean missing, declare them with "
            "--missing COLUMN=LABEL"
        )


def _several_units(header: str, seen: ColumnSurvey) -> str:
    units = Counter({prefix + suffix: n for (prefix, suffix), n in units_of(seen.affixes).items()})
    bare = f" and {seen.figures} numbers without one" if seen.figures else ""
    return (
        f"'{header}' has numbers with the units {_counts(units)}{bare}; write one unit in each cell, or in "
        "none, to learn the numbers"
    )


def _counts(words: Counter[str]) -> str:
    shown = [f"'{word}' ({n})" for word, n in words.most_common(8)]
    return ", ".join(shown) + (f" and {len(words) - 8} more" if len(words) > 8 else "")


def repeated(headers: Sequence[str]) -> str | None:
    """Headers that occur more than once, in a clause; None where there are none."""
    twice = [header for header, n in Counter(headers).items() if n > 1]
    return f"the header has {listed(twice[:5])} more than once" if twice else None
