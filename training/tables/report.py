"""The report at the end of ``init``: at most 40 lines on what was read, learned, left out and joined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from training.tables.cases import Cases
from training.tables.draft import Draft, Guess, printable
from training.tables.estimate import seconds_of
from training.tables.files import File
from training.tables.roles import Decision
from training.tables.survey import Field

MOST_LINES = 40
"""Lines that ``init`` prints, the last of which names the file."""
WIDEST = 160
"""Characters of a line."""
NAMED = 5
"""Columns that a line names."""
FEW_ROWS, ENOUGH_ROWS = 50, 200
"""Training rows below which a model is hardly measured, and from which on a first one can be trusted."""


def report_lines(
    draft: Draft, files: Sequence[File], fields: Sequence[Field], cases: Cases, decisions: Sequence[Decision]
) -> list[str]:
    """The report; everything that a section has no room for is in the comments of the experiment file."""
    blank = [_missing_cells(fields)] if any(field.missing for field in fields) else []
    marks, unread, doubts = _sorted_lines(files)
    sections: list[tuple[str, list[str], int]] = [
        ("", [_file_line(file) for file in files], 3),
        ("", join_lines(files, cases), 5),
        (f"{_count(len(draft.guesses), 'view')}:", [_view(guess) for guess in draft.guesses], 9),
        ("taken as missing:", blank + marks, 5),
        ("left out:", [*_grouped(decisions), *unread], 5),
        ("to check:", [*doubts, *draft.notes.get("to check", ())], 5),
    ]
    lines = [
        line for title, some, most in sections if some for line in _section(title, some, most, draft.output)
    ]
    return [_short(line) for line in [*lines, _enough(draft), _duration(draft)]]


def join_lines(files: Sequence[File], cases: Cases) -> list[str]:
    """How each pair of files is joined, and how many cases it shares."""
    if len(files) == 1:
        return []
    if not cases.headers:
        names = ", ".join(file.path.name for file in files)
        return [f"joined row by row, since no column identifies the cases of all: {names}; check their order"]
    key = next(iter(cases.headers.values()))
    pairs = sorted(cases.shared.items(), key=lambda item: item[1])
    lines = [
        f"joined by '{key}': {first.name} and {second.name} share {shared} of {len(cases)} cases"
        + ("; nothing ties these two" if shared == 0 else "")
        for (first, second), shared in pairs
    ]
    return [
        *lines,
        *(f"{path.name}: {_count(n, 'row')} without '{key}' left out" for path, n in cases.without.items()),
        *(
            f"{path.name}: {_count(len(keys), 'row')} of it in no other file, with the '{key}' {_named(keys)}"
            for path, keys in cases.unmatched.items()
        ),
    ]


def _file_line(file: File) -> str:
    return f"{file.path.name}: {_count(file.rows, 'row')}, {_count(len(file.shapes), 'column')}"


def _view(guess: Guess) -> str:
    columns = [str(column["name"]) for column in guess.settings.get("columns", ())]
    return f"{guess.name}: {guess.kind}; {guess.comment}" + (f": {_named(columns)}" if columns else "")


def _sorted_lines(files: Sequence[File]) -> tuple[list[str], list[str], list[str]]:
    """What the readers report: of missing values, of columns that are left out, and what to check."""
    marks, unread, doubts = list[str](), list[str](), list[str]()
    for file in files:
        for line in file.report:
            suits = unread if "is left out" in line else marks if _is_of_missing(line) else doubts
            suits.append(line if len(files) == 1 else f"{file.path.name}: {line}")
    return marks, unread, doubts


def _is_of_missing(line: str) -> bool:
    return "taken as missing" in line or "a mark that missing names" in line


def _missing_cells(fields: Sequence[Field]) -> str:
    """The number of empty cells, and the columns that have most of them."""
    gaps = {field: field.rows - field.present for field in fields if field.present < field.rows}
    most = sorted(gaps, key=lambda field: field.missing, reverse=True)[:3]
    named = ", ".join(f"'{field.name}' {field.missing:.0%}" for field in most)
    total = sum(field.rows for field in fields)
    return f"{sum(gaps.values())} of {total} cells, in {_count(len(gaps), 'column')}, most in {named}"


def _grouped(decisions: Sequence[Decision]) -> list[str]:
    """Columns that are left out, by reason."""
    groups: Mapping[str, list[str]] = defaultdict(list)
    for one in decisions:
        if one.reason:
            groups[one.reason].append(one.field.name)
    return [f"{_named(names)}: {reason}" for reason, names in groups.items()]


def _named(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _section(title: str, lines: Sequence[str], most: int, output: Path) -> Iterator[str]:
    if title:
        yield title
    indent = "  " if title else ""
    shown = lines if len(lines) <= most else lines[: most - 1]
    yield from (f"{indent}{line}" for line in shown)
    if len(lines) > len(shown):
        yield f"{indent}and {len(lines) - len(shown)} more, see the comments in {output}"


def _enough(draft: Draft) -> str:
    train, held = draft.rows - 2 * draft.held_out, draft.held_out
    verdict = (
        "enough for a first model"
        if train >= ENOUGH_ROWS
        else f"few: figures that rest on {held} rows are rough"
        if train >= FEW_ROWS
        else f"too few to trust: figures that rest on {held} rows say little"
    )
    return f"rows: {train} to train, {held} to choose the best epoch, {held} to measure; {verdict}"


def _duration(draft: Draft) -> str:
    seconds = seconds_of(draft)
    rounded = (
        f"{max(5, round(seconds, -1 if seconds >= 20 else 0)):.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
    )
    return f"fit: about {rounded} on one core of this machine, for {draft.steps} steps at most"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _short(line: str) -> str:
    plain = printable(line)
    return plain if len(plain) <= WIDEST else f"{plain[: WIDEST - 1]}…"
