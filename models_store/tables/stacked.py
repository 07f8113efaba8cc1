"""Tables that stand below one another in one text or sheet, of which one alone can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from models_store.errors import UnreadableFile, listed
from models_store.tables.cells import EMPTY, PERHAPS
from models_store.tables.headers import is_number
from models_store.tables.sources import as_cell

Line = Sequence[Any]
FEWEST_NAMES = 2
"""Cells that a header has at least."""
MOST_SHOWN = 5
"""Names in a sentence."""
_MISSING = EMPTY | PERHAPS


def of_one_table(lines: Iterable[tuple[int, Line]], header: Line, where: str) -> Iterator[Line]:
    """Yields the lines below a header, of which none is the header of a second table.

    That is a line of names below an empty line: words in a column that has numbers above and below.

    Arguments:
        lines: Lines below the header, and their numbers, counted from 1.
        header: The header; a line that repeats it begins no other table.
        where: The file, for messages.

    Raises:
        UnreadableFile: A second table begins.
    """
    last: Line = ()
    names: Line = ()
    is_below_empty, start = False, 0
    for number, line in lines:
        if names and _have_number(names, line):
            shown = listed([str(name) for name in names if name][:MOST_SHOWN])
            raise UnreadableFile(
                f"{where}: line {start} begins a second table, with the names {shown}; save it in a file of "
                "its own"
            )
        yield line
        names = ()
        if not any(line):
            is_below_empty = True
            continue
        if is_below_empty and list(line) != list(header) and _are_names(line) and _have_number(line, last):
            names, start = line, number
        last, is_below_empty = line, False


def _are_names(line: Line) -> bool:
    """Whether all cells that hold something are different words."""
    filled = [cell for cell in line if cell]
    return (
        len(filled) >= FEWEST_NAMES
        and all(isinstance(cell, str) and cell not in _MISSING and not is_number(cell) for cell in filled)
        and len({*filled}) == len(filled)
    )


def _have_number(names: Line, line: Line) -> bool:
    """Whether a line has a number in a column that has a name."""
    pairs = zip(names, line, strict=False)
    return any(is_number(str(as_cell(cell))) for name, cell in pairs if name and cell is not None)
