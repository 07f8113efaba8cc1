"""Lines around the header of a table: whether a line names the columns, units and texts below it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise, zip_longest

from models_store.tables.cells import CENSORED, EMPTY, PERHAPS, is_absent, number

MOST_DESCRIPTIONS = 2
"""Lines of texts below the header, as survey programs write them."""
IDENTIFIERS = '{"ImportId":'
"""Start of the cells of the third line of Qualtrics."""
_BOUND = re.compile(r"(.+)\.(low|high|probability)")
"""Headers of bounds that stand beside filled columns."""
_YEAR = re.compile(r"[12]\d{3}")
_NO_DIGIT = re.compile(r"[^\W\d_]|[%°]")
_UNIT = re.compile(r"[A-Za-zµμ°%/²³^*·. \d\[\]()-]{1,15}")


def names_stand_below(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line names groups of columns, and the second the columns."""
    if groups_above(rows):
        return True
    if len(rows) < 4 or len(rows[1]) != len(rows[0]) or _are_names(rows[0]):
        return False
    names = [cell.strip() for cell in rows[1]]
    words = all(name not in EMPTY | PERHAPS and not is_number(name) for name in names)
    below = zip(*(row for row in rows[2:] if len(row) == len(names)), strict=True)
    return words and len({*names}) == len(names) and any(map(_mostly_numbers, below))


def groups_above(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Groups of the columns, from a first line above names that are not unique without them; else nothing.

    The name of a group stands above its first column, as in merged cells, or above each, as pandas writes it.
    A column may have no name but that of its group.
    """
    if len(rows) < 4 or len(rows[1]) != len(rows[0]):
        return ()
    first, names = ([cell.strip() for cell in row] for row in rows[:2])
    groups = filled_groups(first)
    headers = with_groups(groups, names)
    below = zip(*(row for row in rows[2:] if len(row) == len(names)), strict=True)
    numbers = [at for at, column in enumerate(below) if _mostly_numbers(column)]
    named = [bool(names[at]) for at in numbers if headers[at]]
    if _are_names(first) or _are_names(names) or len({*filter(None, first)}) < 2 or not any(named):
        return ()
    words = all(_is_word(cell) for at in numbers for cell in (first[at], names[at]) if cell)
    complete = all(name or first[at] or not groups[at] for at, name in enumerate(names))
    return groups if words and complete and _are_names([*filter(None, headers)]) else ()


def _are_names(cells: Sequence[str]) -> bool:
    """Whether all cells hold something, and all differ."""
    texts = {cell.strip() for cell in cells}
    return len(texts) == len(cells) and "" not in texts


def filled_groups(cells: Sequence[str]) -> tuple[str, ...]:
    """Names of groups, each repeated up to the next one."""
    return tuple(accumulate((cell.strip() for cell in cells), lambda before, cell: cell or before))


def with_groups(groups: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Headers of columns: the name of the group, a blank, and the name in it."""
    pairs = zip_longest(groups, names, fillvalue="")
    return tuple(f"{group} {name.strip()}".strip() for group, name in pairs)


def has_row_names(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all rows have one cell more than the header, and not only an empty one at the end."""
    further = rows[1:-1] or rows[1:]  # a last row may be cut
    return (
        bool(further)
        and all(len(row) == len(rows[0]) + 1 for row in further)
        and any(row[-1].strip() for row in further)
    )


def is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line names the columns.

    It does not where it has numbers above every column of numbers, unless these count the columns, or are
    years in equal steps above other numbers.
    """
    if len(rows) < 2:
        return True
    first = [cell.strip() for cell in rows[0]]
    numeric = [any(number(cell, mark) is not None for mark in ".,") for cell in first]
    columns = list(zip(*(row for row in rows[1:] if len(row) == len(first)), strict=True))
    if not any(numeric) or not columns:
        return True
    below = [_mostly_numbers(column) for column in columns]
    if not all(numeric[at] for at, is_number in enumerate(below) if is_number) or not any(below):
        return True
    counting = [[str(start + at) for at in range(len(first))] for start in (0, 1)]
    if first in counting:
        return True
    below_it = [line for line in rows[1:] if len(line) == len(first)]
    return _has_years(first, numeric) and not any(_has_years(line, numeric) for line in below_it)


def _has_years(line: Sequence[str], where: Sequence[bool]) -> bool:
    """Whether cells, at least two, are years one after another: 1990, 1991, ... or 1990, 1995, ..."""
    cells = [cell.strip() for cell, here in zip(line, where, strict=True) if here]
    if len(cells) < 2 or not all(_YEAR.fullmatch(cell) for cell in cells):
        return False
    steps = {int(after) - int(before) for before, after in pairwise(cells)}
    return len(steps) == 1 and min(steps) > 0


def _mostly_numbers(column: Sequence[str]) -> bool:
    filled = [cell for cell in column if cell.strip() not in EMPTY | PERHAPS]
    return bool(filled) and sum(is_number(cell) for cell in filled) > 0.66 * len(filled)


def is_number(cell: str) -> bool:
    return number(cell, ".") is not None or number(cell, ",") is not None


def units_below(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The second line, where it has words like units above columns that below hold numbers alone."""
    if len(rows) < 4 or len(rows[1]) != len(rows[0]):
        return ()
    columns = list(zip(*(row for row in rows[2:] if len(row) == len(rows[0])), strict=True))
    at_numbers = [
        "" if cell in column else cell.strip()
        for header, cell, column in zip(rows[0], rows[1], columns, strict=False)
        if _mostly_numbers(column) and not _is_bound(header, rows[0])
    ]
    words = [cell for cell in at_numbers if cell and not _is_absent(cell)]
    if any(cell and _is_absent(cell) for cell in at_numbers):
        return ()
    if not all(_UNIT.fullmatch(cell) and _NO_DIGIT.search(cell) and not is_number(cell) for cell in words):
        return ()
    return tuple(rows[1]) if words and 2 * len(words) > len(at_numbers) else ()


def descriptions_below(rows: Sequence[Sequence[str]], is_second: bool = False) -> tuple[tuple[str, ...], ...]:
    """Lines below the header with words in every column that below holds numbers, of which there are several.

    Survey programs write the questions there, and identifiers below them.

    Arguments:
        rows: The header and the lines below it.
        is_second: The header has two lines.
    """
    count = 0
    while count < MOST_DESCRIPTIONS and _describes(rows[0], rows[1 + count :], is_second or count > 0):
        count += 1
    return tuple(tuple(row) for row in rows[1 : 1 + count])


def _describes(header: Sequence[str], rows: Sequence[Sequence[str]], is_second: bool) -> bool:
    """Whether the first of some lines below a header describes the columns.

    The second such line may also name the first column alone, as pandas names an index, or be empty.
    """
    if len(rows) < 4 or len(rows[0]) != len(header):
        return False
    columns = list(zip(*(row for row in rows[1:] if len(row) == len(header)), strict=True))
    if not columns:
        return False
    at_numbers = [
        (cell.strip(), column)
        for name, cell, column in zip(header, rows[0], columns, strict=False)
        if name.strip() and _mostly_numbers(column) and not _is_bound(name, header)
    ]
    is_index = not header[0].strip() or _mostly_numbers(columns[0])
    if is_second and is_index and not any(map(str.strip, rows[0][1:])):
        return not is_number(rows[0][0]) and rows[0][0] not in columns[0]
    words = [cell not in column and _is_word(cell) for cell, column in at_numbers]
    return all(words) and (len(words) > 1 or any(cell.startswith(IDENTIFIERS) for cell in rows[0]))


def _is_bound(name: str, header: Sequence[str]) -> bool:
    """Whether a column holds bounds of a filled one beside it."""
    match = _BOUND.fullmatch(name)
    return match is not None and match[1] in header


def _is_absent(cell: str) -> bool:
    """Whether a cell means a missing value."""
    return cell in EMPTY | PERHAPS or is_absent(cell)


def _is_word(cell: str) -> bool:
    return (
        not _is_absent(cell)
        and not CENSORED.fullmatch(cell)
        and not is_number(cell)
        and bool(_NO_DIGIT.search(cell))
    )
