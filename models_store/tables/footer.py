"""Lines below the last row of a table: totals, means and notes."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from models_store.tables.affixes import split_affixes
from models_store.tables.cells import EMPTY, PERHAPS, number
from models_store.tables.sources import Source

Line = Sequence[Any]
MOST_LINES = 12
"""Lines of a footer."""
LEADING = 3
"""First cells of a line in one of which the word for a total stands."""
LONGEST = 40
"""Most characters of that cell."""
FEWEST_ROWS = 3
"""Fewest rows above a footer that is recognised by its words."""
FEWEST_EMPTY = 3
"""Fewest empty lines at the end of a text that are no rows."""
FEWEST_SUMMED = 10
"""Fewest rows above a last line that is recognised as the sums of the columns."""
_SUMMARIES = re.compile(
    r"(grand |sub[ -]?)?totals?|total g[eé]n[eé]ral|sums?|means?|averages?|avg\.?|overall|[∑Σ]"
    r"|summen?|(gesamt|end)(summe)?|insgesamt|mittelwerte?|durchschnitt|somme|moyenne|suma|promedio|totale|somma"
    r"|soma|totaal|gemiddelde|summa|medelvärde|yhteensä|keskiarvo|razem|średnia|celkem|průměr|toplam|ortalama"
    r"|итого|всего|сумма|среднее|合計|合计|总计|總計|小计|平均|합계|평균",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    r"n|count|median|min(imum)?|max(imum)?|s\.?d\.?|std\.?( ?dev\.?)?|stdev|standard deviation|variance|var"
    r"|standardabweichung|anzahl",
    re.IGNORECASE,
)
"""Words that stand beside a total or a mean, and alone may be labels."""
_MISSING = EMPTY | PERHAPS
_LETTER, _GAP = re.compile(r"[^\W\d_]"), re.compile(r"[\s:]")
_SIZE = re.compile(r"\s*(\(.*\)|[:=])\s*$")


def above_footer(source: Source, lines: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """Yields the rows of a table; what stands below them is kept in ``source.footer`` at the end.

    Below the rows stand lines with one text, a word for a total or a mean that no row above has, among
    numbers; notes of one cell; and a last line of the sums of columns.

    Arguments:
        source: The table; ``footer_lines`` states the number of lines, ``labels`` words that rows may have.
        lines: Returns all lines below the header.
    """
    if source.footer_lines is not None:
        yield from _without_last(source, lines())
        return
    seen, held, above = set(source.labels), list[Line](), 0
    words: list[str] = []
    for line in _without_empty_end(source, lines()):
        word = _word(line)
        if held and len(held) <= MOST_LINES and _is_below(line, word, held, len(source.headers), seen):
            held.append(line)
            words.append(word)
            continue
        seen.update(words)
        words = [word] if word else []
        yield from held
        above += len(held)
        held = [line]
    size = _lines_of_footer(held, above, len(source.headers), lines) if held else 0
    source.footer = held[len(held) - size :]
    yield from held[: len(held) - size]


def _without_last(source: Source, lines: Iterator[Line]) -> Iterator[Line]:
    count = source.footer_lines or 0
    held = deque(islice(lines, count))
    for line in lines:
        held.append(line)
        yield held.popleft()
    source.footer = list(held)


def _without_empty_end(source: Source, lines: Iterator[Line]) -> Iterator[Line]:
    """Lines without empty ones at their end, as formatted cells leave them in a sheet and in a text of it.

    Where all are empty, they are rows without a value.
    """
    empty, is_end = list[Line](), False
    for line in lines:
        if all(map(_is_empty, line)):
            empty.append(line)
            continue
        is_end = True
        yield from empty
        empty = []
        yield line
    is_end = is_end and len(empty) >= (1 if source.typed else FEWEST_EMPTY)
    source.empty_lines = len(empty) * is_end
    yield from [] if is_end else empty


def _lines_of_footer(
    held: Sequence[Line], above: int, width: int, lines: Callable[[], Iterator[Line]]
) -> int:
    """The number of last lines that are no rows, of which the first may be a row.

    Arguments:
        held: A line, and those below it that may be no rows.
        above: Number of lines above them.
        width: Number of columns.
        lines: Returns all lines.
    """
    below = held[1:]
    if above + 1 >= FEWEST_ROWS and any(
        _is_note(line, width) or _SUMMARIES.fullmatch(_word(line)) for line in below
    ):
        return len(below)
    if not below and held and above >= FEWEST_SUMMED:
        mark = max(".,", key=lambda mark: sum(_value(cell, mark) is not None for cell in held[0]))
        return int(_holds_sums(held[0], mark, islice(lines(), above)))
    return 0


def _is_below(line: Line, word: str, held: Sequence[Line], width: int, seen: Collection[str]) -> bool:
    """Whether a line may stand below the last row of a table, the first of the lines above it."""
    if word:
        return word not in seen
    if line and isinstance(line[0], str) and line[0].isalnum():  # as in most rows
        return False
    if all(map(_is_blank, line)):
        return True
    if not _is_note(line, width):
        return False
    return (len(line) < width > 2) or all(map(_is_blank, held[-1])) or _is_number(held[0][0])


def _is_note(line: Line, width: int) -> bool:
    """Whether some words are all that a line holds, in its first cell, or the others follow a colon in it."""
    return (
        isinstance(line[0], str)
        and _holds_words(line[0])
        and not _is_number(line[0])
        and not _word(line)
        and ((":" in line[0] and len(line) < width) or all(map(_is_blank, line[1:])))
    )


def _holds_words(text: str) -> bool:
    """Whether a text has a letter, and a blank or colon: two searches, since one takes quadratic time."""
    return bool(_LETTER.search(text) and _GAP.search(text.strip()))


def _word(line: Line) -> str:
    """The word for a total or a mean that is the only text of a line, in lower case; empty without one."""
    for cell in line[:LEADING]:
        if isinstance(cell, str) and 0 < len(cell) <= LONGEST and not cell[-1].isdigit():
            word = _summary_of(cell)
            if word and sum(not _is_blank(one) and not _is_number(one) for one in line) == 1:
                return word
    return ""


@lru_cache(maxsize=1024)
def _summary_of(text: str) -> str:
    """The word for a total or a mean that a text is, in lower case; empty for another text."""
    word = _SIZE.sub("", text.strip()).casefold()
    return word if _SUMMARIES.fullmatch(word) or _BESIDE.fullmatch(word) else ""


def _holds_sums(line: Line, mark: str, rows: Iterable[Line]) -> bool:
    """Whether a number of a line is the sum of its column, and none is as small as one above it.

    The first cell may number the line. Of most tables few rows are read: a row above has a larger number.
    """
    values = {at: value for at, cell in enumerate(line) if (value := _value(cell, mark))}
    if len(values) > 1:
        values.pop(0, None)
    sums = dict.fromkeys(values, 0.0)
    for row in rows:
        for at, value in values.items():
            cell = _value(row[at], mark) or 0.0 if at < len(row) else 0.0
            if abs(cell) >= abs(value):
                return False
            sums[at] += cell
    return any(abs(sums[at] - value) <= _half_unit(line[at], mark) for at, value in values.items())


def _half_unit(cell: Any, mark: str) -> float:
    """Half of the last decimal of a number that may be rounded; of a typed one a share for its digits."""
    if not isinstance(cell, str):
        return 1e-9 * abs(cell)
    tail = re.search(rf"\{mark}(\d+)", cell)
    return 0.51 * 10.0 ** -(len(tail[1]) if tail else 0)


def _value(cell: Any, mark: str) -> float | None:
    """The number in a cell, also beside a unit; None for none."""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return float(cell) if math.isfinite(cell) else None
    if not isinstance(cell, str) or not cell:
        return None
    parts = split_affixes(cell.strip())
    return number(parts.number if parts else cell.strip(), mark)


def _is_number(cell: Any) -> bool:
    return any(_value(cell, mark) is not None for mark in ".,")


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip() in _MISSING)
