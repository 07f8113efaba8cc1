"""Bounds the cells of a table before it is read."""

from __future__ import annotations

from models_store.kinds.table import MOST_CHARACTERS
from models_store.tables.matching import full_names
from service.engine.rules import Rules
from service.errors import TooLarge

MARKS = (b",", b";", b"\t", b"|")
"""Delimiters of cells."""
EMPTY_LINES = 1000
"""Lines of a table beside those of rows."""
MOST_CELLS = 2**16
"""Most cells of a line; each is matched with the columns of the model."""


def check(rules: Rules, content: bytes) -> None:
    """Refuses a table of too many cells, in all or in one line.

    Raises:
        TooLarge: There are more than one request may have.
    """
    check_lines(rules, content)
    manifest = rules.manifest
    columns = sum(len(full_names(one)) for one in manifest.modalities if one.traits.tabular)
    columns += sum(len(table.columns) for table in manifest.tables)
    check_cells(content, rules.limits.rows * (columns + 1))
    if len(content) > MOST_CHARACTERS and max(map(len, content.splitlines())) > MOST_CHARACTERS:
        raise TooLarge(f"a line of the table has more than the {MOST_CHARACTERS} bytes that it may have")
    many = [mark for mark in MARKS if content.count(mark) >= MOST_CELLS]
    widest = max((line.count(mark) for mark in many for line in content.splitlines()), default=0) + 1
    if widest > MOST_CELLS:
        raise TooLarge(f"a line of the table has {widest} cells, more than the {MOST_CELLS} that it may have")


def check_lines(rules: Rules, content: bytes) -> None:
    """Refuses a text of more lines than rows and some empty lines need; each is read, empty ones too.

    Raises:
        TooLarge: There are more.
    """
    lines = max(content.count(b"\n"), content.count(b"\r"))
    if lines > (most := rules.limits.rows + EMPTY_LINES):
        raise TooLarge(f"the table has {lines} lines, more than the {most} that one request may have")


def check_cells(content: bytes, most: int) -> None:
    """Refuses a text with more cells.

    Raises:
        TooLarge: There are more.
    """
    if max(content.count(mark) for mark in MARKS) > most:
        raise TooLarge(f"the table has more than the {most} cells that one request may have")
